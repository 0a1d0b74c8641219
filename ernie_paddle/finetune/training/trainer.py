"""The fine-tuning loop of all task types: the data of each step, evaluation, and the run's folder.

A run is a pure function of its settings, data and initial weights. Its checkpoints are model directories that
`ernie predict` can use, and the same command, given again, resumes from the newest.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_paddle.checkpoints.model_dir import model_documents, tokenizer_files
from ernie_paddle.finetune.serving.answering import ANSWER_TASK, answer_task
from ernie_paddle.finetune.serving.inference import run_dataset
from ernie_paddle.finetune.task_type import LABEL, LABEL_WEIGHTS, Dataset, TaskType
from ernie_paddle.finetune.training.class_weights import WEIGHT_INPUT
from ernie_paddle.finetune.training.fgm import with_fgm
from ernie_paddle.finetune.training.identity import run_changes
from ernie_paddle.finetune.training.layer_decay import layer_decay
from ernie_paddle.finetune.training.rdrop import Losses, with_rdrop
from ernie_paddle.finetune.training.start import Start, describe_load
from propeller.device import distributed
from propeller.graph.optim import OptimizerConfig, ParameterRules
from propeller.graph.precision import PrecisionConfig
from propeller.graph.spec import ProgramSpec
from propeller.learner import Learner
from propeller.run.hooks import EarlyStop
from propeller.run.lr import Kind as Schedule
from propeller.run.lr import LrConfig, lr_at
from propeller.run.trainer import Outcome, StepInput, Trainer, TrainerOptions
from propeller.values import Arrays
from reader.batches.epochs import epoch_batches, rank_share, steps_per_epoch

TRAIN_TASK = "finetune"


@dataclass(frozen=True)
class FinetuneConfig:
    """Training settings of a task; all of them affect the result.

    Attributes:
        epochs: Number of epochs over the training table.
        batch_size: Rows per update, over all ranks.
        lr: Peak learning rate.
        schedule: Shape of the rate after warmup (see `propeller.run.lr.LrConfig`).
        warmup: Fraction of the updates in which the rate rises.
        layer_decay: Factor of the rate from one layer to the next lower one (see `layer_decay`); None: equal rates.
        weight_decay: Decoupled decay (none on biases and LayerNorm).
        adam_epsilon: Epsilon of Adam, added to the root of the second moment.
        class_weights: Weight of each class in the loss of a classification; None: equal weights.
        rdrop: Weight of the divergence of two passes (see `rdrop`); 0: one pass.
        fgm: Norm of the perturbation of word vectors in adversarial training (see `fgm`); 0: none.
        clip_norm: Largest global gradient norm.
        seed: Seed of all random numbers.
        patience: Number of evaluations without a better metric that ends the run; None: never.
        precision: Which computations use 16 bits.
    """

    epochs: int = 3
    batch_size: int = 32
    lr: float = 5e-5
    schedule: Schedule = "linear"
    warmup: float = 0.1
    layer_decay: float | None = None
    weight_decay: float = 0.01
    adam_epsilon: float = 1e-8
    class_weights: tuple[float, ...] | None = None
    rdrop: float = 0.0
    fgm: float = 0.0
    clip_norm: float = 1.0
    seed: int = 0
    patience: int | None = None
    precision: PrecisionConfig = field(default_factory=PrecisionConfig)


@dataclass(frozen=True)
class RunOptions:
    """How a run is executed; only `micro_batch` affects the result (apart from rounding).

    Attributes:
        output: Folder of the run.
        micro_batch: Maximum rows per forward pass and rank; gradients of more rows are accumulated. Each pass draws its
            own dropout, so a run is only resumed with the same value.
        eval_batch: Rows per batch in evaluation.
        save_steps: Updates between checkpoints, in addition to those at the end of an epoch.
        log_every: Updates between progress lines.
    """

    output: Path
    micro_batch: int = 64
    eval_batch: int = 64
    save_steps: int = 1000
    log_every: int = 50


class Finetuner:
    """One fine-tuning run: `prepare`, then `run`."""

    def __init__(
        self, task: TaskType, start: Start, train: Dataset, dev: Dataset, config: FinetuneConfig, options: RunOptions
    ) -> None:
        """Declare the Programs; `train` and `dev` have at least one row each."""
        assert len(train) > 0
        assert len(dev) > 0
        distributed.init()
        self.task, self.start, self.train, self.dev, self.config, self.options = (
            task,
            start,
            train,
            dev,
            config,
            options,
        )
        self.rank, self.world = distributed.rank(), distributed.world_size()
        self.per_epoch = steps_per_epoch(len(train), config.batch_size)
        total_steps = self.per_epoch * config.epochs
        warmup_steps = math.ceil(total_steps * config.warmup)
        self.schedule = LrConfig(config.schedule, config.lr, warmup_steps, total_steps)

        optimizer = OptimizerConfig(
            epsilon=config.adam_epsilon, weight_decay=config.weight_decay, clip_norm=config.clip_norm
        )
        decay, layers = config.layer_decay, start.config.num_hidden_layers
        rules = ParameterRules(lr_ratio=None if decay is None else layer_decay(decay, layers))
        self.learner = Learner(optimizer, config.precision, seed=config.seed, rules=rules)
        self.inputs = (*task.inputs(True), *((WEIGHT_INPUT,) if config.class_weights else ()))
        losses: Losses = task.losses
        if config.rdrop:
            losses = with_rdrop(task, config.rdrop, start.config)
        if config.fgm:
            losses = with_fgm(losses, config.fgm)
        self.learner.add(ProgramSpec(TRAIN_TASK, self.inputs, lambda: task.layer(start.config), losses))
        self.learner.add(answer_task(task, start.config))
        self.documents = model_documents(start.config, task.to_dict())
        self.trainer = Trainer(
            learner=self.learner,
            folder=options.output,
            total_steps=total_steps,
            identity=self._identity(),
            documents=self.documents,
            files=lambda: tokenizer_files(start.tokenizer),
            options=TrainerOptions(
                checkpoint_every=options.save_steps,
                eval_every=self.per_epoch,
                keep_last=1,
                log_every=options.log_every,
                unit="tokens",
            ),
            watch=EarlyStop(task.metric, "max", config.patience),
            changes=run_changes,
        )

    def prepare(self) -> None:
        """Resume the run of the output folder if there is one, else load the initial weights and report them."""
        if self.trainer.resume() or self.start.arrays is None:
            return
        for line in describe_load(self.learner.load_parameters(self.start.arrays)):
            self.trainer.say(f"  {line}")

    def run(self) -> Outcome:
        """Train to the end, evaluating the whole development table after each epoch and keeping the best checkpoint."""
        return self.trainer.run(self._inputs(), lambda: [("dev", self.score(self.dev))])

    def score(self, data: Dataset) -> dict[str, float]:
        """The metrics of the current parameters on all of these rows, for any number of ranks.

        Settings that the task fits to the rows are stored in the next checkpoint.
        """

        def run(batch: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
            return self.learner.infer(ANSWER_TASK, batch)

        outputs = run_dataset(run, self.task, data, self.options.eval_batch, rank=self.rank, world=self.world)
        tuned = self.task.tuned(outputs, data)
        self.documents.update(model_documents(self.start.config, tuned.to_dict()))
        return tuned.score(outputs, data)

    def epoch_of(self, step: int) -> float:
        """The number of epochs completed after this step."""
        return step / self.per_epoch

    def _inputs(self) -> Iterator[StepInput]:
        """The inputs of the steps from the current one on."""
        step = self.learner.step
        while True:
            epoch, number = divmod(step, self.per_epoch)
            for rows in epoch_batches(self.train.lengths, self.config.batch_size, self.config.seed, epoch)[number:]:
                step += 1
                yield self._step_input(rows, lr_at(step, self.schedule))

    def _step_input(self, rows: NDArray[np.int64], lr: float) -> StepInput:
        parts = rank_share(rows, self.rank, self.world, self.options.micro_batch)
        micro_batches = [self._micro_batch(part) for part in parts]
        lines = ", ".join(str(self.train.lines[row]) for row in rows[:16]) + (", …" if len(rows) > 16 else "")
        lengths = [self.train.lengths[part] for part in parts if len(part)]
        return StepInput(
            task=TRAIN_TASK,
            micro_batches=micro_batches,
            lr=lr,
            units=sum(int(part.sum()) for part in lengths),
            slots=max(1, sum(len(part) * int(part.max()) for part in lengths)),
            samples=f"{self.task.counted}s {lines} of {self.train.source}",
        )

    def _micro_batch(self, rows: NDArray[np.int64]) -> Arrays:
        """The arrays of these rows; without rows, one row whose labels do not count (a Program needs a batch)."""
        batch = self.task.batch(self.train, rows if len(rows) else np.zeros(1, np.int64), labelled=True)
        if self.config.class_weights:
            batch[LABEL_WEIGHTS] = np.asarray(self.config.class_weights, np.float32)[batch[LABEL]]
        for item in () if len(rows) else self.inputs:
            if item.ignore is not None:
                batch[item.name] = np.full_like(batch[item.name], item.ignore)
        return batch

    def _identity(self) -> dict[str, Any]:
        """The identity of this run; the folder of a run with another identity is refused."""
        return {
            "task": self.task.to_dict(),
            "model": self.start.config.to_dict(),
            "vocab": self.start.tokenizer.vocab.sha256,
            "initial": self.start.name,
            "config": asdict(self.config),
            # A micro-batch is never larger than the batch.
            "micro_batch": min(self.options.micro_batch, self.config.batch_size),
            "train": fingerprint(self.train),
            "dev": fingerprint(self.dev),
        }


def fingerprint(data: Dataset) -> str:
    """A hash of a dataset's content (not of its name): equal data give equal runs."""
    digest = hashlib.sha256()
    for array in (data.lengths, *data.content()):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
