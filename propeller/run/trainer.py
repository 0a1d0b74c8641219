"""The loop of a run: steps, evaluations, checkpoints, logs, stop signals, and resuming by the same command.

The caller provides the input of the steps as an iterator of :class:`StepInput`, and the Learner carries out the steps.
A run is a folder::

    log.jsonl             every logged step and evaluation
    curves.png            the loss curves, drawn at the end
    vdl/                  the curves for VisualDL, where it is installed
    .lock                 locked by the process that uses the folder
    checkpoints/step-…/   model.safetensors, training.safetensors, run.json (identity), state.json, the caller's files
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from propeller.device import distributed
from propeller.errors import UserError
from propeller.learner import Feed, Learner
from propeller.run import checkpoint
from propeller.run.hooks import (
    EarlyStop,
    EvalRecord,
    Hook,
    JsonlLog,
    NonFiniteGuard,
    Progress,
    Rate,
    StepRecord,
    StopSignals,
    VisualDl,
)
from propeller.run.plot import plot
from propeller.run.run_folder import CHECKPOINTS, CURVES, LOG, VDL, FolderLock

PARAMETERS = "model.safetensors"
TRAINING = "training.safetensors"
RUN = "run.json"
STATE = "state.json"


@dataclass(frozen=True)
class StepInput:
    """The input of one step.

    Attributes:
        task: name of the Learner's task.
        micro_batches: the micro-batches of this rank.
        lr: learning rate of the update.
        units: amount of work of this rank, in a unit of the caller's choice. The work of all ranks is estimated as this
            times the number of ranks, since a sum would cost another collective in each step.
        slots: amount of work with padding, in the same unit.
        samples: description of the samples in the step, for messages.
    """

    task: str
    micro_batches: Sequence[Feed]
    lr: float
    units: int
    slots: int
    samples: str


@dataclass(frozen=True)
class TrainerOptions:
    """The options of how a run is carried out, none of which changes the updates.

    Attributes:
        checkpoint_every: steps between checkpoints; there is one after every evaluation, too, and at the end.
        eval_every: steps between evaluations; there is one at the end, too.
        stage_ends: the last step of each stage, if the run has stages; there is an evaluation after each of them.
        keep_last: number of newest checkpoints that are kept, besides the best one.
        log_every: steps between lines of progress and of the log.
        non_finite_limit: number of skipped steps in a row that ends the run.
        unit: name of the unit of work in the progress.
    """

    checkpoint_every: int = 1000
    eval_every: int = 1000
    stage_ends: Sequence[int] = ()
    keep_last: int = 3
    log_every: int = 10
    non_finite_limit: int = 20
    unit: str = "units"


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run.

    Attributes:
        step: the last step done.
        checkpoint: the checkpoint of that step.
        best: the best checkpoint by the watched metric, else the last.
        evaluations: all evaluations of the run in order, including those before a resume.
        finished: False if a signal ended it; ``exit_code`` is what the process should end with.
        skipped: steps whose update was skipped because the gradient was not finite.
    """

    step: int
    checkpoint: Path
    best: Path
    evaluations: list[EvalRecord]
    finished: bool
    exit_code: int
    skipped: int


Evaluate = Callable[[], Sequence[tuple[str, dict[str, float]]]]
Files = Callable[[], AbstractContextManager[Mapping[str, Path]]]
Changes = Callable[[Mapping[str, Any], Mapping[str, Any]], list[str]]


def setting_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The differences between flat settings with dotted keys, a phrase each, such as "lr was 0.1 and is 0.2"."""
    changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    return [f"{key} was {before.get(key)} and is {now.get(key)}" for key in changed]


@dataclass
class Trainer:
    """One run in one folder, which is locked from the first call of ``resume`` or ``run`` to the end of ``run``.

    Attributes:
        learner: the Learner, to which all tasks are added.
        folder: folder of the run.
        total_steps: number of steps of the whole run.
        identity: JSON-able settings that determine the result; a folder with a run of another identity is refused.
        documents: JSON documents that every checkpoint holds, by file name.
        files: function that opens further files that every checkpoint holds, by file name.
        options: options of the run.
        watch: the metric that chooses the best checkpoint and may end the run early.
        memory: further state that is saved with each checkpoint and restored on resume: name -> object with
            ``state()`` and ``restore(state)``.
        changes: function that returns a phrase for each difference between two identities, which are flat, with dotted
            keys: first the identity of the run in the folder, then that of this run.
    """

    learner: Learner
    folder: Path
    total_steps: int
    identity: Mapping[str, Any]
    documents: Mapping[str, Any]
    files: Files
    options: TrainerOptions
    watch: EarlyStop
    memory: Mapping[str, Hook] = field(default_factory=dict)
    changes: Changes = setting_changes

    def __post_init__(self) -> None:
        self.rank, self.world = distributed.rank(), distributed.world_size()
        self.checkpoints = self.folder / CHECKPOINTS
        self._lock = FolderLock(self.folder)
        self.guard = NonFiniteGuard(self.options.non_finite_limit)
        self.evaluations: list[EvalRecord] = []
        self._remembered: dict[str, Hook] = {"watch": self.watch, "guard": self.guard, **self.memory}
        self._saved: int | None = None

    # ---------------------------------------------------------------------------------------------------- checkpoints

    def resume(self) -> bool:
        """Resume from the newest intact checkpoint of the folder; False if there is no checkpoint.

        Damaged checkpoints are named on stderr, and the newest intact one is used.

        Raises:
            UserError: another process uses the folder, the folder holds a run with other settings, or all its
                checkpoints are damaged.
        """
        self._acquire()
        try:
            return self._resume()
        except BaseException:
            self._lock.release()
            raise

    def _resume(self) -> bool:
        newest, warnings = checkpoint.latest_valid(self.checkpoints)
        if newest is None and warnings:
            raise UserError(
                f"{self.checkpoints}: {warnings[0]}; starting anew would overwrite that run: move {self.folder} away "
                "or choose another output folder"
            )
        for warning in warnings:
            self.say(f"warning: {warning}")
        if newest is None:
            return False
        found = checkpoint.read(newest, check=False)
        before, now = _flat(found.document(RUN)), _flat(self.identity)
        changed = self.changes(before, now)
        if changed:
            shown = "; ".join(changed[:3])
            raise UserError(
                f"{self.folder} holds a run with other settings ({shown}); choose another output folder, or give the "
                "settings of that run to resume it"
            )
        state = found.document(STATE)
        self.learner.restore({**found.tensors(PARAMETERS), **found.tensors(TRAINING)}, state["learner"])
        self.evaluations = [EvalRecord(**record) for record in state["evaluations"]]
        for name, item in self._remembered.items():
            item.restore(state["remembered"].get(name, {}))
        self._saved = self.learner.step
        self._warn_of_versions(state.get("versions", {}))
        self._repair_mark()
        self.say(f"resuming after step {self.learner.step} of {self.total_steps} ({newest})")
        return True

    def save(self) -> Path:
        """Write the checkpoint of the present step, on rank 0 only, unless it is written already."""
        step = self.learner.step
        target = checkpoint.step_path(self.checkpoints, step)
        if self._saved == step:
            return target
        # On every rank, since the state may be gathered from all ranks.
        remembered = {name: item.state() for name, item in self._remembered.items()}
        if self.rank != 0:
            self._saved = step
            return target
        tensors, meta = self.learner.state()
        parameters, training = split_state(tensors)
        state = {
            "learner": meta,
            "evaluations": [vars(record) for record in self.evaluations],
            "remembered": remembered,
            "versions": versions(),
        }
        best_now = self.watch.improved and self.watch.best_step == step
        with self.files() as files:
            checkpoint.save(
                self.checkpoints,
                step,
                {PARAMETERS: parameters, TRAINING: training},
                {**self.documents, RUN: self.identity, STATE: state},
                files,
                keep_last=self.options.keep_last,
                best=self._best_facts() if best_now else None,
            )
        self._saved = step
        return target

    def _best_facts(self) -> dict[str, Any]:
        return {"metric": self.watch.metric, "value": self.watch.best_value}

    def _repair_mark(self) -> None:
        """Mark the best checkpoint that the restored state knows: a kill may have come between save and mark."""
        step = self.watch.best_step
        marked = checkpoint.best(self.checkpoints)
        path = checkpoint.step_path(self.checkpoints, step)
        if self.rank == 0 and self.watch.best_value is not None and path.is_dir() and (not marked or marked[0] != path):
            checkpoint.mark_best(self.checkpoints, step, self._best_facts())

    def _warn_of_versions(self, before: Mapping[str, str]) -> None:
        changed = [
            f"{name} was {before[name]} and is {now}"
            for name, now in versions().items()
            if before.get(name, now) != now
        ]
        if changed:
            self.say(f"warning: {'; '.join(changed)}: the run resumes, but not bit-identically")

    def _acquire(self) -> None:
        """Lock the folder on rank 0; an error there is raised on every rank, so that no rank waits for the others."""
        problem = ""
        if self.rank == 0:
            try:
                self._lock.acquire()
            except UserError as error:
                problem = str(error)
        problem = distributed.all_gather_bytes(problem.encode())[0].decode()
        if problem:
            raise UserError(problem)

    # --------------------------------------------------------------------------------------------------------- the run

    def run(self, inputs: Iterator[StepInput], evaluate: Evaluate) -> Outcome:
        """Train from the present step to the end.

        Args:
            inputs: the inputs of the steps that follow the present one.
            evaluate: function that carries out all evaluations and returns (name, figures) of each, called on every
                rank. It returns an empty list where nothing can be evaluated.

        Raises:
            UserError: another process uses the folder, too many steps in a row were not finite, or a checkpoint could
                not be written.
        """
        self._acquire()
        try:
            return self._run(inputs, evaluate)
        finally:
            self._lock.release()

    def _run(self, inputs: Iterator[StepInput], evaluate: Evaluate) -> Outcome:
        hooks = [*self._remembered.values(), *self._outputs()]
        rate = Rate(self.total_steps)
        interrupted = False
        with StopSignals() as signals:
            try:
                if self._evaluation_due() and all(record.step != self.learner.step for record in self.evaluations):
                    # The run ended during this evaluation, and the checkpoint was saved without its results.
                    self._evaluate(evaluate, hooks)
                    self._saved = None
                    self.save()
                stop = self._stop_reason(hooks)
                while self.learner.step < self.total_steps and stop is None and not interrupted:
                    self._step(inputs, rate, hooks)
                    if self._evaluation_due():
                        self._evaluate(evaluate, hooks)
                        stop = self._stop_reason(hooks)
                        self.save()
                    elif self.learner.step % self.options.checkpoint_every == 0:
                        self.save()
                    interrupted = self._on_any_rank(signals.requested)
                path = self.save()
            finally:
                for hook in hooks:
                    hook.on_end()
        if stop is not None:
            self.say(stop)
        distributed.barrier()
        if self.rank == 0:
            plot({"train": self.folder / LOG}, self.folder / CURVES)
        marked = checkpoint.best(self.checkpoints)
        finished = not interrupted or self.learner.step == self.total_steps
        return Outcome(
            step=self.learner.step,
            checkpoint=path,
            best=marked[0] if marked else path,
            evaluations=self.evaluations,
            finished=finished,
            exit_code=0 if finished else signals.exit_code,
            skipped=self.learner.skipped,
        )

    def say(self, text: str) -> None:
        """Print a line on stderr, on rank 0 only."""
        if self.rank == 0:
            print(text, file=sys.stderr, flush=True)

    def _evaluation_due(self) -> bool:
        step = self.learner.step
        due = step % self.options.eval_every == 0 or step in (*self.options.stage_ends, self.total_steps)
        return step > 0 and due

    def _step(self, inputs: Iterator[StepInput], rate: Rate, hooks: Sequence[Hook]) -> None:
        began = time.perf_counter()  # waiting for data is part of the step
        given = next(inputs)
        result = self.learner.train_step(given.task, given.micro_batches, given.lr)
        seconds = time.perf_counter() - began
        units = given.units * self.world
        per_second, eta = rate.update(result.step, units, seconds)
        record = StepRecord(
            step=result.step,
            total_steps=self.total_steps,
            task=given.task,
            loss=result.loss,
            losses=result.losses,
            metrics=result.metrics,
            lr=given.lr,
            grad_norm=result.grad_norm,
            finite=result.finite,
            loss_scale=result.loss_scale,
            units=units,
            units_per_second=per_second,
            padding=1 - given.units / given.slots,
            seconds=seconds,
            eta=eta,
            samples=given.samples,
        )
        for hook in hooks:
            hook.on_step(record)

    def _evaluate(self, evaluate: Evaluate, hooks: Sequence[Hook]) -> None:
        """Evaluate and inform the hooks. If this fails, the steps so far are saved; a resumed run evaluates first."""
        try:
            step, ends = self.learner.step, self.options.stage_ends
            stage = 1 + sum(end < step for end in ends) if ends else None
            records = [EvalRecord(step, name, figures, stage) for name, figures in evaluate()]
            # The watch may refuse the figures: it is asked before anything is written down.
            for hook in self._remembered.values():
                for record in records:
                    hook.on_eval(record)
        except Exception:
            self.save()
            raise
        self.evaluations += records
        for hook in hooks[len(self._remembered) :]:
            for record in records:
                hook.on_eval(record)

    def _outputs(self) -> list[Hook]:
        """The hooks that show and log the run, on rank 0 only."""
        if self.rank != 0:
            return []
        step, every = self.learner.step, self.options.log_every
        return [
            Progress(self.total_steps, unit=self.options.unit, every=every, initial=step),
            JsonlLog(self.folder / LOG, resume_step=step, every=every),
            VisualDl(self.folder / VDL, every=every),
        ]

    def _on_any_rank(self, requested: bool) -> bool:
        """Whether any rank received a signal, since all ranks must leave the loop after the same step."""
        if self.world == 1:
            return requested
        return bool(distributed.sum_over_ranks(np.array([float(requested)]))[0])

    @staticmethod
    def _stop_reason(hooks: Sequence[Hook]) -> str | None:
        return next((hook.stop_reason for hook in hooks if hook.stop_reason is not None), None)


def versions() -> dict[str, str]:
    """Versions of the libraries that compute; other versions may round differently."""
    return {"numpy": np.__version__, "paddle": paddle.__version__}


def split_state(
    tensors: Mapping[str, np.ndarray[Any, Any]],
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, np.ndarray[Any, Any]]]:
    """A Learner's arrays, divided into the parameters and all other arrays, whose names contain '@'."""
    parameters = {name: array for name, array in tensors.items() if "@" not in name}
    return parameters, {name: array for name, array in tensors.items() if "@" in name}


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted keys, through JSON so that tuples and lists are the same."""
    plain = json.loads(json.dumps(document)) if not prefix else document
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
