"""Started on every rank by test_two_ranks.py: trains the toy on this rank's rows, and writes what it saw."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from helpers.propeller_toy import batch, cut, task
from propeller.device import distributed
from propeller.errors import UserError
from propeller.graph import precision
from propeller.graph.optim import OptimizerConfig
from propeller.graph.precision import PrecisionConfig
from propeller.learner import Learner

STEPS = 20
MATRIX_PRODUCTS = ("matmul", "matmul_v2", "linear_v2", "mul", "einsum", "fused_gemm_epilogue")


def learner_for(dropout: float = 0.0, **arguments: Any) -> Learner:
    """A Learner with the toy task; clipping is active in most steps."""
    learner = Learner(OptimizerConfig(clip_norm=0.5, weight_decay=0.1), PrecisionConfig(**arguments), seed=3)
    learner.add(task(dropout=dropout))
    learner.add(task("second", head="second", classes=5, dropout=dropout))
    return learner


def mine(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """This rank's rows of a global batch."""
    rank, world = distributed.rank(), distributed.world_size()
    return {name: array[rank::world] for name, array in rows.items()}


def train(learner: Learner, pieces: tuple[int, ...]) -> list[list[float]]:
    """Losses, accuracy and gradient norm of each step; the tasks alternate."""
    found = []
    for step in range(STEPS):
        name, classes = ("second", 5) if step % 4 == 3 else ("toy", 3)
        micro_batches = cut(mine(batch(step, 17, classes)), *pieces)
        result = learner.train_step(name, micro_batches, 0.02)
        assert result.finite
        found.append([result.loss, *result.losses.values(), *result.metrics.values(), result.grad_norm])
        found[-1] += [float(count) for count in result.counts.values()]
    return found


def scaled(learner: Learner) -> list[float]:
    """Loss scales; one row of the global batch, on one rank, overflows in step 1."""
    scales = []
    for step in range(5):
        rows = batch(step)
        if step == 1:
            rows["factor"][1] = 1e16
        digest = learner.digest()
        result = learner.train_step("toy", cut(mine(rows), 2), 0.02)
        assert result.finite == (step != 1)
        if step == 1:
            parameters = learner.variables.names(parameters=True)
            assert learner.skipped == 1
            assert digest != learner.digest()  # the scale has changed,
            learner.variables.set("@loss_scale", np.array([result.loss_scale]))
            learner.variables.set("@loss_scale_good_steps", np.ones(1))
            assert digest == learner.digest(), parameters  # and nothing else
            learner.variables.set("@loss_scale", np.array([result.loss_scale / 2]))
            learner.variables.set("@loss_scale_good_steps", np.zeros(1))
        scales.append(result.loss_scale)
    return scales


def main(output: Path) -> None:
    """Run all parts; the same ones, in the same order, on each rank."""
    distributed.init()
    rank, world = distributed.rank(), distributed.world_size()
    report: dict[str, Any] = {"rank": rank, "world": world}

    report["messages"] = [message.decode() for message in distributed.all_gather_bytes(f"from {rank}".encode())]
    report["empty"] = [len(message) for message in distributed.all_gather_bytes(b"")]
    report["sum"] = distributed.sum_over_ranks(np.array([1.0, 1e-9, rank])).tolist()
    distributed.barrier()

    for name, pieces in (("whole", ()), ("micro", (3,))):
        learner = learner_for()
        learner.parameters()
        report[f"{name}_start"] = learner.digest().hex()
        report[name] = train(learner, pieces)
        report[f"{name}_end"] = learner.digest().hex()
        # Ranks have different numbers of evaluation batches: the last one has none at all, if there are several.
        pieces_of_evaluation = cut(batch(50, 40), 10, 25)
        own = pieces_of_evaluation if world == 1 else [pieces_of_evaluation, []][rank]
        report[f"{name}_evaluation"] = learner.evaluate("toy", own)
        if rank == 0:
            np.savez(output / f"{name}_{world}.npz", **learner.parameters())

    # Ranks may have different numbers of micro-batches.
    learner = learner_for()
    rows = mine(batch(7, 16))
    uneven = learner.train_step("toy", cut(rows, 4) if rank == 0 else [rows], 0.02)
    report["uneven"] = [uneven.loss, uneven.grad_norm]
    learner.train_step("toy", [mine(batch(8, 16))], 0.02)

    precision.ALLOW_FLOAT16_ON_CPU = True
    report["scales"] = scaled(learner_for(dtype="float16", init_loss_scaling=2.0**15, extra_black_list=MATRIX_PRODUCTS))

    # Equal rows on both ranks; a single process does what each of them does, one after the other.
    report["dropout"] = [learner_for(dropout=0.5).train_step("toy", [batch(0)], 0.02).loss]
    if world == 1:
        distributed.rank = lambda: 1
        report["dropout"].append(learner_for(dropout=0.5).train_step("toy", [batch(0)], 0.02).loss)

    if world == 2:
        learner = learner_for()
        learner.train_step("toy", [batch(0)], 0.02)
        try:
            learner.train_step("toy" if rank == 0 else "second", [batch(0)], 0.02)
        except UserError as error:
            report["disagreement"] = str(error)
        learner = learner_for()
        arrays = learner.parameters()
        arrays["head.bias"][0] += rank
        learner.load_parameters(arrays)
        try:
            learner.train_step("toy", [batch(0)], 0.02)
        except UserError as error:
            report["different"] = str(error)
    (output / f"report_{world}_{rank}.json").write_text(json.dumps(report))
    distributed.barrier()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
