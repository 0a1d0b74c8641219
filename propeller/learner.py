"""The Learner: trains and evaluates tasks, and infers with them, over shared parameters.

The Learner owns one scope of variables and, for each task (a ProgramSpec), up to five Programs over this scope (see
``propeller.graph.programs``), each built at its first use. All randomness comes from seeds derived from (seed, purpose,
step, micro-batch, rank), which are set before every execution of a Program. So the state of a run is its variables and
a few counters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import paddle

from propeller.device import distributed, static
from propeller.errors import UserError
from propeller.graph.executor import Runner
from propeller.graph.inputs import COUNT_SUFFIX
from propeller.graph.optim import OptimizerConfig, ParameterRules
from propeller.graph.precision import PrecisionConfig
from propeller.graph.programs import LR_INPUT, Built, Kind, build, discover
from propeller.graph.spec import ProgramSpec
from propeller.graph.variables import Variables
from propeller.results import LoadReport, StepResult, means
from propeller.seeds import derive_seed
from propeller.state import export_state, import_state

Feed = Mapping[str, np.ndarray]
"""The arrays of one micro-batch, by input name."""

__all__ = ["Feed", "Learner", "LoadReport", "StepResult"]


class Learner:
    """Owns the parameters, the optimizer's state and the Programs of several tasks.

    Attributes:
        step: number of training steps done, skipped ones included.
        skipped: number of steps whose update was skipped because the gradient was not finite.
        skipped_in_a_row: number of skipped steps since the last finite step.
        variables: the variables that all Programs share.
        executor: runs the Programs.
    """

    def __init__(
        self,
        optimizer: OptimizerConfig,
        precision: PrecisionConfig | None = None,
        *,
        seed: int,
        rules: ParameterRules | None = None,
    ) -> None:
        """Join the other ranks, if any, and check that the device can compute in the precision.

        Args:
            optimizer: configuration of the optimizer.
            precision: mixed precision; None for float32.
            seed: seed of the initial parameters and of all dropout; the same on every rank.
            rules: rules for weight decay and for ratios of learning rates of parameters; None for the defaults.

        Raises:
            UserError: Paddle is too old or has PIR off, or the device cannot compute in this precision.
        """
        distributed.init()
        self.optimizer = optimizer
        self.rules = rules or ParameterRules()
        self.precision = precision or PrecisionConfig()
        self.precision.check_device()
        self.seed = seed
        self.step = 0
        self.skipped = 0
        self.skipped_in_a_row = 0
        self.variables = Variables(static.place())
        self.executor = paddle.static.Executor(self.variables.place)
        self._specs: dict[str, ProgramSpec] = {}
        self._built: dict[tuple[str, Kind], Built] = {}
        self._runners: dict[int, Runner] = {}
        self._discovered: dict[str, tuple[str, ...]] = {}
        self._in_step = False
        self._equal_on_ranks = False

    # ------------------------------------------------------------------------------------------------ tasks, Programs

    def add(self, spec: ProgramSpec) -> None:
        """Add a task. Its Programs are built at their first use.

        Raises:
            UserError: there is a task of the same name already.
        """
        if spec.name in self._specs:
            raise UserError(f"there are two tasks called {spec.name!r}")
        self._specs[spec.name] = spec

    def spec(self, name: str) -> ProgramSpec:
        """The task called ``name``.

        Raises:
            UserError: there is no such task.
        """
        if name not in self._specs:
            raise UserError(f"there is no task {name!r}; known are {sorted(self._specs)}")
        return self._specs[name]

    def program(self, task_name: str, kind: Kind) -> Built:
        """The Program of one kind of a task, built at its first use; its parameters exist when this returns."""
        key = (task_name, kind)
        if key not in self._built:
            built = build(self.spec(task_name), kind, self.optimizer, self.rules, self.precision, self.variables)
            self.variables.run_startup(self.executor, built.startup, self.seed)
            self._discovered[task_name] = built.parameters
            self._built[key] = built
            self._runners[id(built)] = Runner(
                self.executor, built.program, list(built.inputs), list(built.outputs.values()), self.variables.scope
            )
        return self._built[key]

    def _discover(self) -> list[str]:
        """Make sure that the parameters of all tasks exist; returns their sorted names."""
        for name, spec in self._specs.items():
            if name not in self._discovered:
                startup, names = discover(spec, self.variables)
                self.variables.run_startup(self.executor, startup, self.seed)
                self._discovered[name] = names
        return sorted({name for names in self._discovered.values() for name in names})

    # -------------------------------------------------------------------------------------------------------- running

    def train_step(self, task_name: str, micro_batches: Sequence[Feed], lr: float) -> StepResult:
        """One update from this rank's micro-batches; the global batch may be divided into micro-batches in any way.

        All ranks train the same task. They may have different numbers of micro-batches, but each has at least one.

        Args:
            task_name: name of the task to train.
            micro_batches: arrays by input name; the Program of the last one also sums over ranks and updates.
            lr: learning rate of this update.

        Raises:
            UserError: the task is unknown, there is no micro-batch, an array is missing or has another dtype or shape
                than declared, the learning rate is negative or not finite, or ranks train different tasks.
        """
        spec = self.spec(task_name)
        if not micro_batches:
            raise UserError(f"task {task_name!r}: a step needs at least one micro-batch on each rank")
        if not (math.isfinite(lr) and lr >= 0):
            raise UserError(f"learning rate {lr} must be a finite number, 0 or more")
        last = self.program(task_name, "train" if len(micro_batches) == 1 else "apply")
        feeds = [
            self._feed(spec, batch, f"task {task_name!r}, micro-batch {i}") for i, batch in enumerate(micro_batches)
        ]
        assert last.terms is not None
        labels = last.terms.label_inputs
        counts = self._global_counts(spec, [[spec.input(n).count(feed[n]) for n in labels] for feed in feeds])
        self._check_ranks()
        if self._in_step:  # an exception left the last step unfinished, with its gradients in the buffers
            self._empty_buffers()

        fed_counts = {name + COUNT_SUFFIX: np.array([n], np.float32) for name, n in zip(labels, counts, strict=True)}
        self._in_step = True
        for micro, feed in enumerate(feeds[:-1]):
            self._run(self.program(task_name, "accumulate"), feed | fed_counts, "train", micro)
        fed_rate = {LR_INPUT: np.array([lr], np.float32)}
        (statistics,) = self._run(last, feeds[-1] | fed_counts | fed_rate, "train", len(feeds) - 1)
        self._in_step = False

        *sums, norm, finite, scale = statistics.tolist()
        self.step += 1
        if finite:
            self.skipped_in_a_row = 0
        else:
            self.skipped += 1
            self.skipped_in_a_row += 1
        mean = means(last.terms, sums, counts)
        return StepResult(
            self.step, mean.loss, mean.losses, mean.metrics, mean.counts, norm, bool(finite), loss_scale=scale
        )

    def evaluate(self, task_name: str, batches: Iterable[Feed]) -> dict[str, float]:
        """Means over all labels of all batches of all ranks, without dropout, with the current parameters.

        Ranks may have different numbers of batches, even none; every rank must call this method.

        Returns:
            "loss" (weighted as in training), "<term>", "<term>_accuracy" where the term has hits, "<term>_count".

        Raises:
            UserError: the task is unknown, a batch is unusable as in ``train_step``, or no batch has a label.
        """
        spec = self.spec(task_name)
        built = self.program(task_name, "eval")
        assert built.terms is not None
        labels = built.terms.label_inputs
        size = len(built.terms.names) + sum(built.terms.has_hits)
        sums = np.zeros(size + len(labels))
        for number, batch in enumerate(batches):
            feed = self._feed(spec, batch, f"task {task_name!r}, evaluation batch {number}")
            sums[:size] += self._run(built, feed, "eval", number)[0]
            sums[size:] += [spec.input(name).count(feed[name]) for name in labels]
        sums = distributed.sum_over_ranks(sums)
        if not sums[size:].any():
            raise UserError(f"task {task_name!r}: the evaluation data has no labels")
        mean = means(built.terms, sums[:size], sums[size:])
        counts = {f"{name}_count": float(count) for name, count in mean.counts.items()}
        return {"loss": mean.loss, **mean.losses, **mean.metrics, **counts}

    def infer(self, task_name: str, batch: Feed, *, draw: int = 0) -> dict[str, np.ndarray]:
        """The outputs by name of a task whose forward returns outputs, with the current parameters, without dropout.

        The method may be called between training steps, and changes nothing. Random operators in the graph (sampling)
        depend on (seed, step, draw, rank) alone; give each call within a step its own ``draw``.

        Raises:
            UserError: the task is unknown, the batch is unusable as in ``train_step``, or the task's forward returns
                losses.
        """
        built = self.program(task_name, "infer")
        feed = self._feed(self.spec(task_name), batch, f"task {task_name!r}")
        return dict(zip(built.outputs, self._run(built, feed, "infer", draw), strict=True))

    def _run(self, built: Built, feed: dict[str, np.ndarray], purpose: str, number: int) -> list[np.ndarray]:
        paddle.seed(derive_seed(self.seed, purpose, self.step, number, distributed.rank()))
        return self._runners[id(built)](feed)

    @staticmethod
    def _feed(spec: ProgramSpec, batch: Feed, where: str) -> dict[str, np.ndarray]:
        return {item.name: item.check(batch, where) for item in spec.inputs}

    # ---------------------------------------------------------------------------------------------------------- ranks

    def _global_counts(self, spec: ProgramSpec, counts: list[list[float]]) -> list[float]:
        """Number of labels (or sum of their weights) of each label input, over all micro-batches and ranks."""
        own = [sum(column) for column in zip(*counts, strict=True)]
        if distributed.world_size() == 1:
            return own
        # The message has one length for all tasks, and holds the number of the task, so that ranks that disagree get
        # an error here and not a hanging collective of different lengths later.
        number = list(self._specs).index(spec.name)
        width = max(len(known.inputs) for known in self._specs.values())
        message = np.zeros(2 + width)
        message[:2] = number, number**2
        message[2 : 2 + len(own)] = own
        summed = distributed.sum_over_ranks(message)
        world = distributed.world_size()
        if summed[0] != world * number or summed[1] != world * number**2:
            raise UserError(
                f"step {self.step + 1}: rank {distributed.rank()} trains {spec.name!r}, another rank does not"
            )
        return [float(value) for value in summed[2 : 2 + len(own)]]

    def _check_ranks(self) -> None:
        """Check, before the first step and after parameters were set, that all ranks hold the same bits."""
        if self._equal_on_ranks or distributed.world_size() == 1:
            return
        digests = distributed.all_gather_bytes(self.digest())
        if len(set(digests)) != 1:
            raise UserError(
                "the ranks hold different parameters or a different optimizer state: they need the same seed, the same "
                f"configuration and the same files (SHA-256 begin {[digest.hex()[:12] for digest in digests]})"
            )
        self._equal_on_ranks = True

    def digest(self) -> bytes:
        """SHA-256 of the bits of all parameters and of the optimizer's state on this rank."""
        variables = self.variables
        names = variables.names(parameters=True) + variables.names(parameters=False)
        return variables.digest(name for name in names if not variables.is_buffer(name))

    def _empty_buffers(self) -> None:
        self.variables.reset(name for name in self.variables.names(parameters=False) if self.variables.is_buffer(name))

    # ---------------------------------------------------------------------------------------------------------- state

    def parameters(self) -> dict[str, np.ndarray]:
        """Copies of all parameters (float32) of all tasks, by name; parameters without a value yet are initialised."""
        return {name: self.variables.get(name) for name in self._discover()}

    def load_parameters(self, arrays: Mapping[str, np.ndarray]) -> LoadReport:
        """Set the parameters for which ``arrays`` has an array of the right shape; the report names the others.

        The optimizer's state is not changed: load parameters before training, and resume with ``restore``.
        """
        names = self._discover()
        report = LoadReport(unexpected=sorted(set(arrays) - set(names)))
        for name in names:
            if name not in arrays:
                report.missing.append(name)
                continue
            array, shape = np.asarray(arrays[name]), self.variables.shapes[name]
            if array.shape != shape:
                report.mismatched.append((name, shape, array.shape))
                continue
            self.variables.set(name, array)
            report.matched.append(name)
        self._equal_on_ranks = False
        return report

    def adopt(self, tensors: Mapping[str, np.ndarray], precision: Mapping[str, str]) -> LoadReport:
        """Start from the parameters and the optimizer's state of another run, which may have had other tasks.

        Parameters that the other run did not have keep their initial values. Adam's bias correction counts the updates
        of each parameter separately, so the first update of these parameters counts as their first. Steps begin at 0.

        Args:
            tensors: arrays that ``state`` of the other run returned.
            precision: precision of the other run; its loss scale is used only if this run has the same precision.

        Returns:
            The parameters that were set (``matched``), those that keep their values (``missing``), and those of the
            other run that this run does not have (``unexpected``).

        Raises:
            UserError: a parameter has another shape; nothing is changed in this case.
        """
        names = self._discover()
        same = dict(precision) == {"dtype": self.precision.dtype, "level": self.precision.level}
        parameters = {name: array for name, array in tensors.items() if "@" not in name}
        for name in set(parameters) & set(names):
            if parameters[name].shape != self.variables.shapes[name]:
                raise UserError(
                    f"parameter {name!r} has shape {parameters[name].shape} in the run to start from, but here "
                    f"{self.variables.shapes[name]}; give the tasks that use it the same settings as in that run"
                )
        report = LoadReport(unexpected=sorted(set(parameters) - set(names)))
        for name in names:
            (report.matched if name in parameters else report.missing).append(name)
        for name, array in tensors.items():
            owner = name.split("@")[0]
            if owner in names or (owner == "" and same):
                self.variables.set(name, array)
        self._equal_on_ranks = False
        return report

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """The state between two steps that a bit-identical resume needs: arrays by name, and a JSON-able document.

        The arrays of parameters have the names of the parameters; the names of all other arrays contain '@'.
        """
        self._discover()
        counters = {"step": self.step, "skipped": self.skipped, "skipped_in_a_row": self.skipped_in_a_row}
        return export_state(self.variables, self.seed, self.precision, counters)

    def restore(self, tensors: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
        """Restore the state that ``state`` returned, in a Learner with the same tasks, seed and precision.

        Raises:
            UserError: the state has another seed, precision or set of parameters; nothing is changed in this case.
        """
        counters = import_state(self.variables, self._discover(), self.seed, self.precision, tensors, meta)
        self.step, self.skipped = counters["step"], counters["skipped"]
        self.skipped_in_a_row = counters["skipped_in_a_row"]
        self._equal_on_ranks = False
        self._empty_buffers()
        self._in_step = False
