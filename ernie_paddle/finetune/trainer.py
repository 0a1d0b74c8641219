"""The training loop that all task types share: batches to the Learner, evaluation, checkpoints, resume.

A run is a pure function of its settings, data and initial weights. Its folder holds `step-…` checkpoints, each a model
directory that `ernie predict` can use and that the same command, given again, continues from.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_paddle.finetune.inference import run_dataset
from ernie_paddle.finetune.model_dir import PARAMETERS, model_documents, tokenizer_files
from ernie_paddle.finetune.order import epoch_batches, rank_share, steps_per_epoch
from ernie_paddle.finetune.task_type import Arrays, Dataset, TaskType
from ernie_paddle.models.config import ErnieConfig
from propeller import checkpoint, distributed
from propeller.errors import UserError
from propeller.hooks import EarlyStop, EvalRecord, Hook, JsonlLog, NonFiniteGuard, Progress, Rate, StepRecord
from propeller.hooks.signals import StopSignals
from propeller.learner import Learner, LoadReport
from propeller.lr import LrConfig, lr_at
from propeller.optim import OptimizerConfig
from propeller.precision import PrecisionConfig
from propeller.task import Task
from reader.batching import PaddingCount
from reader.tokenizer import Tokenizer

RUN = "run.json"
STATE = "state.json"
TRAINING = "training.safetensors"
TRAIN_TASK = "train"
ANSWER_TASK = "answer"


@dataclass(frozen=True)
class FinetuneConfig:
    """How a task is trained; everything here decides the result.

    Attributes:
        epochs: passes over the training table.
        batch_size: rows of one update, over all ranks.
        lr: peak learning rate.
        warmup: share of the updates over which the rate grows; afterwards it falls linearly to 0.
        weight_decay: decoupled decay (none on biases and LayerNorm).
        clip_norm: largest global gradient norm.
        seed: of everything random.
        patience: evaluations without a better metric that end the run; None: never.
        precision: what is computed in 16 bits.
    """

    epochs: int = 3
    batch_size: int = 32
    lr: float = 5e-5
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    seed: int = 0
    patience: int | None = None
    precision: PrecisionConfig = field(default_factory=PrecisionConfig)


@dataclass(frozen=True)
class RunOptions:
    """How a run is carried out; nothing here changes the result (but for rounding).

    Attributes:
        output: the run's folder.
        micro_batch: most rows of one forward pass (per rank); more are accumulated.
        eval_batch: rows of a batch in evaluation.
        save_steps: a checkpoint every so many updates, beside those at the end of an epoch.
        log_every: a progress line every so many updates.
    """

    output: Path
    micro_batch: int = 64
    eval_batch: int = 64
    save_steps: int = 1000
    log_every: int = 50


@dataclass(frozen=True)
class FinetuneResult:
    """What a run came to.

    Attributes:
        metrics: of the best checkpoint on the development table.
        step: of the best checkpoint; `path` is its directory.
        evaluations: all evaluations in order, each with "step" and "epoch".
        finished: False if the run was stopped by a signal; `exit_code` goes with it.
    """

    metrics: dict[str, float]
    step: int
    path: Path
    evaluations: list[dict[str, float]]
    finished: bool
    exit_code: int


class Finetuner:
    """One fine-tuning run."""

    def __init__(
        self,
        task: TaskType,
        model: ErnieConfig,
        tokenizer: Tokenizer,
        train: Dataset,
        dev: Dataset,
        config: FinetuneConfig,
        options: RunOptions,
        initial: str,
    ) -> None:
        """Declare the Programs; `train` and `dev` have at least one row each, `initial` names the initial weights."""
        assert len(train) > 0
        assert len(dev) > 0
        distributed.init()
        self.task, self.model, self.tokenizer = task, model, tokenizer
        self.train, self.dev, self.config, self.options = train, dev, config, options
        self.initial = initial
        self.rank, self.world = distributed.rank(), distributed.world_size()
        self.per_epoch = steps_per_epoch(len(train), config.batch_size)
        self.total_steps = self.per_epoch * config.epochs
        self.schedule = LrConfig(
            kind="linear",
            peak=config.lr,
            warmup_steps=math.ceil(self.total_steps * config.warmup),
            total_steps=self.total_steps,
        )
        optimizer = OptimizerConfig(weight_decay=config.weight_decay, clip_norm=config.clip_norm)
        self.learner = Learner(optimizer, config.precision, seed=config.seed)
        self.learner.add(Task(TRAIN_TASK, task.inputs(True), lambda: task.layer(model), task.losses))
        self.learner.add(Task(ANSWER_TASK, task.inputs(False), lambda: task.layer(model), task.outputs))
        self.evaluations: list[dict[str, float]] = []
        self.best = EarlyStop(task.metric, "max", config.patience)
        self.guard = NonFiniteGuard()

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> LoadReport:
        """Take initial weights; what they do not name keeps its fresh initial values."""
        return self.learner.load_parameters(arrays)

    def resume(self) -> bool:
        """Continue from the newest intact checkpoint of the output folder, if there is one.

        Raises:
            UserError: the folder holds a run with other settings or data.
        """
        newest, warnings = checkpoint.latest_valid(self.options.output)
        for warning in warnings:
            self._say(f"warning: {warning}")
        if newest is None:
            return False
        found = checkpoint.read(newest)
        before, now = found.document(RUN), self._identity()
        changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        if changed:
            shown = ", ".join(f"{key} was {before.get(key)} and is {now.get(key)}" for key in changed[:3])
            raise UserError(
                f"{self.options.output} holds another run ({shown}); "
                "give another --output, or --overwrite to start anew"
            )
        state = found.document(STATE)
        self.learner.restore({**found.tensors(PARAMETERS), **found.tensors(TRAINING)}, state["learner"])
        self.evaluations = state["evaluations"]
        self.best.restore(state["best"])
        self.guard.restore(state["guard"])
        self._say(f"continuing after step {self.learner.step} of {self.total_steps} ({newest})")
        return True

    def run(self) -> FinetuneResult:
        """Train to the end, evaluating the whole development table after each epoch and keeping the best checkpoint."""
        hooks = self._hooks()
        rate = Rate(self.total_steps)
        stopped = self._stop_reason()
        with StopSignals() as signals:
            try:
                while self.learner.step < self.total_steps and not stopped:
                    record = self._step(rate)
                    for hook in hooks:
                        hook.on_step(record)
                    if record.step % self.per_epoch == 0:
                        self._evaluate(hooks)
                        stopped = self._stop_reason()
                    elif record.step % self.options.save_steps == 0:
                        self._save(improved=False)
                    if self._any_rank(signals.requested):
                        self._save(improved=False)
                        return self._result(False, signals.exit_code)
            finally:
                for hook in hooks:
                    hook.on_end()
        if stopped:
            self._say(stopped)
        return self._result(True, 0)

    def answer(self, data: Dataset) -> Arrays:
        """The outputs for all rows of `data` with the current parameters."""

        def run(batch: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
            return self.learner.infer(ANSWER_TASK, batch)

        return run_dataset(run, self.task, data, self.options.eval_batch, rank=self.rank, world=self.world)

    def _step(self, rate: Rate) -> StepRecord:
        began = time.perf_counter()
        epoch, number = divmod(self.learner.step, self.per_epoch)
        rows = self._batches(epoch)[number]
        micro = [self._micro_batch(part) for part in rank_share(rows, self.rank, self.world, self.options.micro_batch)]
        lr = lr_at(self.learner.step + 1, self.schedule)
        result = self.learner.train_step(TRAIN_TASK, micro, lr)
        padding = PaddingCount()
        for batch in micro:
            mask = next(iter(batch.values())) if "attention_mask" not in batch else batch["attention_mask"]
            padding.add(int(mask.sum()), mask.size)
        seconds = time.perf_counter() - began
        per_second, eta = rate.update(result.step, len(rows), seconds)
        return StepRecord(
            step=result.step,
            total_steps=self.total_steps,
            task=self.task.type,
            loss=result.loss,
            losses=result.losses,
            metrics=result.metrics,
            lr=lr,
            grad_norm=result.grad_norm,
            finite=result.finite,
            loss_scale=result.loss_scale,
            units=len(rows),
            units_per_second=per_second,
            padding=padding.ratio,
            seconds=seconds,
            eta=eta,
            samples=f"lines {', '.join(str(self.train.lines[row]) for row in rows[:8])}… of {self.train.source}",
        )

    def _batches(self, epoch: int) -> list[NDArray[np.int64]]:
        if getattr(self, "_epoch", None) != epoch:
            self._epoch = epoch
            self._epoch_batches = epoch_batches(self.train.lengths, self.config.batch_size, self.config.seed, epoch)
        return self._epoch_batches

    def _micro_batch(self, rows: NDArray[np.int64]) -> Arrays:
        """The arrays of these rows; for no rows at all one row whose labels do not count (a Program needs a batch)."""
        if len(rows):
            return self.task.batch(self.train, rows, labelled=True)
        batch = self.task.batch(self.train, np.zeros(1, np.int64), labelled=True)
        for item in self.task.inputs(True):
            if item.ignore is not None:
                batch[item.name] = np.full_like(batch[item.name], item.ignore)
        return batch

    def _evaluate(self, hooks: list[Hook]) -> None:
        step = self.learner.step
        scores = self.task.score(self.answer(self.dev), self.dev)
        record = EvalRecord(step, "dev", scores)
        for hook in hooks:
            hook.on_eval(record)
        self.evaluations.append({"step": step, "epoch": step / self.per_epoch, **scores})
        self._save(improved=self.best.improved)

    def _save(self, *, improved: bool) -> None:
        if self.rank != 0:
            return
        tensors, meta = self.learner.state()
        documents = {
            **model_documents(self.model, self.task),
            RUN: self._identity(),
            STATE: {
                "learner": meta,
                "evaluations": self.evaluations,
                "best": self.best.state(),
                "guard": self.guard.state(),
            },
        }
        with tokenizer_files(self.tokenizer) as files:
            checkpoint.save(
                self.options.output,
                self.learner.step,
                split_state(tensors),
                documents,
                files,
                keep_last=1,
                best=self.evaluations[-1] if improved else None,
            )

    def _identity(self) -> dict[str, Any]:
        """What makes this run this run; a checkpoint of another one is not continued."""
        identity = {
            "task": self.task.to_dict(),
            "model": self.model.to_dict(),
            "config": asdict(self.config),
            "train": fingerprint(self.train),
            "dev": fingerprint(self.dev),
            "vocab": self.tokenizer.vocab.sha256,
            "initial": self.initial,
        }
        plain: dict[str, Any] = json.loads(json.dumps(identity))
        return {
            f"{part}.{key}" if isinstance(value, dict) else part: item
            for part, value in plain.items()
            for key, item in (value.items() if isinstance(value, dict) else [("", value)])
        }

    def _hooks(self) -> list[Hook]:
        hooks: list[Hook] = [self.best, self.guard]
        if self.rank == 0:
            log = self.options.output / "log.jsonl"
            hooks.append(
                Progress(self.total_steps, unit="rows", every=self.options.log_every, initial=self.learner.step)
            )
            hooks.append(JsonlLog(log, resume_step=self.learner.step))
        return hooks

    def _stop_reason(self) -> str | None:
        patience = self.best.patience
        if patience is None or self.best.waited < patience:
            return None
        return (
            f"stopped early: {self.best.metric} has not improved for {self.best.waited} evaluations; "
            f"the best was at step {self.best.best_step}"
        )

    def _any_rank(self, requested: bool) -> bool:
        """Whether a signal came to any rank: all must leave the loop at the same step."""
        if self.world == 1:
            return requested
        return b"1" in distributed.all_gather_bytes(b"1" if requested else b"0")

    def _result(self, finished: bool, exit_code: int) -> FinetuneResult:
        distributed.barrier()
        marked = checkpoint.best(self.options.output)
        path = marked[0] if marked else checkpoint.step_path(self.options.output, self.learner.step)
        at_best = [found for found in self.evaluations if found["step"] == self.best.best_step]
        metrics = {
            key: value for key, value in (at_best[-1] if at_best else {}).items() if key not in ("step", "epoch")
        }
        return FinetuneResult(metrics, self.best.best_step, path, self.evaluations, finished, exit_code)

    def _say(self, text: str) -> None:
        if self.rank == 0:
            print(text, file=sys.stderr, flush=True)


def split_state(tensors: Mapping[str, NDArray[Any]]) -> dict[str, dict[str, NDArray[Any]]]:
    """A Learner's arrays as the two files of a checkpoint: the parameters, which make the model, and all others."""
    parameters = {name: array for name, array in tensors.items() if "@" not in name}
    return {PARAMETERS: parameters, TRAINING: {name: tensors[name] for name in tensors.keys() - parameters.keys()}}


def fingerprint(data: Dataset) -> str:
    """A hash of a dataset's content (not of its name): equal data give equal runs."""
    digest = hashlib.sha256()
    digest.update(np.asarray(data.lengths).tobytes())
    for array in data.content():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
