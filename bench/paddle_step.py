"""The MLM training step of `bench/step.py` with this project's model and Learner; run by it in a separate process.

Its standard input and output and its step are those of `torch_step.py`.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

import numpy as np

import propeller  # noqa: F401 - sets the process up before Paddle is imported
from bench.spec import model_config


def main() -> None:
    """Serve steps as `torch_step.py` does; the first argument is the specification as JSON."""
    from paddle import nn

    from ernie_paddle.models.encoder import Encoder
    from ernie_paddle.models.heads import MaskedLMHead, gather_positions
    from ernie_paddle.models.losses import cross_entropy_sum
    from propeller.graph.inputs import IGNORE, Input
    from propeller.graph.losses import LossTerm
    from propeller.graph.optim import OptimizerConfig
    from propeller.graph.spec import ProgramSpec
    from propeller.learner import Learner

    spec = json.loads(sys.argv[1])
    config = model_config(spec)

    class Model(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = Encoder(config, add_pooler=False)
            self.mlm = MaskedLMHead(config, self.encoder.embeddings.word.weight)

    def forward(model: Any, fed: dict[str, Any]) -> list[LossTerm]:
        out = model.encoder(fed["input_ids"], fed["segment_ids"], attention_mask=fed["attention_mask"])
        logits_MV = model.mlm(gather_positions(out.hidden_BTH, fed["positions"]))
        return [LossTerm("mlm", cross_entropy_sum(logits_MV, fed["labels"]), "labels")]

    inputs = [Input(name, (None, None), "int64") for name in ("input_ids", "segment_ids", "attention_mask")]
    inputs += [Input("positions", (None,), "int64"), Input("labels", (None,), "int64", ignore=IGNORE)]
    learner = Learner(OptimizerConfig(weight_decay=0.01, clip_norm=1.0), seed=0)
    learner.add(ProgramSpec("mlm", inputs, Model, forward))
    arrays = np.load(spec["batch"])
    batch = {name: arrays[name] for name in arrays.files}
    for line in sys.stdin:
        times, cpu = [], []
        for _ in range(int(line)):
            start, cpu_start = time.perf_counter(), time.process_time()
            loss = learner.train_step("mlm", [batch], 1e-4).loss
            times.append(1000 * (time.perf_counter() - start))
            cpu.append(1000 * (time.process_time() - cpu_start))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"ms": times, "cpu_ms": cpu, "peak_mb": peak, "loss": loss}), flush=True)


if __name__ == "__main__":
    main()
