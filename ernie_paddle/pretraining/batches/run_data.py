"""The data of a run's tasks: training data, and the held-out text for evaluation."""

from __future__ import annotations

from pathlib import Path

from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.pretraining.batches.joint_steps import JointStepData, JointStepReader
from ernie_paddle.pretraining.batches.step_data import TaskData
from ernie_paddle.pretraining.batches.step_reader import StepReader
from ernie_paddle.pretraining.recipe import Recipe
from ernie_paddle.pretraining.schedule.plan import TrainingPlan
from ernie_paddle.pretraining.schedule.task_sums import RowGroup, TaskSum, sum_tasks
from propeller.errors import UserError
from reader.corpora.corpus import read_corpus_info
from reader.errors import DataError

EVALUATION_SEED = 20190729
"""Seed of the masks and pairs of held-out text; it is the same in every run, so that runs can be compared."""


def group_data(
    recipe: Recipe, group: RowGroup, split: str, config: ErnieConfig, *, share: int = 1, task_id: int | None = None
) -> TaskData:
    """The data settings of tasks that share rows, for one split of the corpora.

    Args:
        recipe: The recipe of the tasks.
        group: The tasks that share rows.
        split: Name of the split of the corpora.
        config: The architecture.
        share: Divisor of the step's tokens (the number of groups in a step).
        task_id: Task id of the rows; None uses the group's.

    Raises:
        UserError: The batch cannot be divided by ``share``.
    """
    train, data = recipe.train, recipe.data
    sizes = {"batch_tokens": train.batch_tokens, "batch_rows": train.batch_rows}
    sizes["micro_batch_tokens"] = train.micro_batch_tokens
    for key, size in sizes.items():
        if size is not None and size < share:
            raise UserError(f"{recipe.name}: train.{key}: {size} cannot be divided among {share} sets of rows")
    own = group.task_id if task_id is None else task_id
    return TaskData(
        task=group.name,
        objectives=group.objectives,
        corpora=[(corpus.path, corpus.weight) for corpus in group.corpora],
        max_length=data.max_length,
        min_tokens=data.min_tokens,
        bin_width=data.bin_width,
        task_id=own if config.use_task_id else None,
        split=split,
        seed=train.seed if split == "train" else EVALUATION_SEED,
        layout=config.layout,
        target_segment=config.target_segment,
        **{key: size and size // share for key, size in sizes.items()},
    )


def training_data(recipe: Recipe, task_sum: TaskSum, config: ErnieConfig) -> TaskData | JointStepData:
    """The training data of a sum of tasks; several sets of rows divide the step's tokens evenly."""
    share = len(task_sum.groups)
    parts = [group_data(recipe, group, "train", config, share=share) for group in task_sum.groups]
    return parts[0] if share == 1 else JointStepData(task_sum.name, tuple(parts))


def require_corpora(recipe: str, paths: list[str]) -> None:
    """Raise an error that names all missing corpora and says how to prepare them."""
    for path in paths:
        if Path(path).is_file():
            raise DataError(
                f"{path} is a file, not a prepared corpus; prepare it with `ernie prepare {path} --vocab VOCAB "
                "--output FOLDER` and name the folder"
            )
    missing = [path for path in paths if not Path(path).is_dir()]
    if missing:
        raise DataError(
            f"recipe {recipe} reads the prepared corpora {', '.join(paths)}; missing: {', '.join(missing)}. Prepare "
            f"text with `ernie prepare TEXT --vocab VOCAB --heldout 0.01 --output {missing[0]}`, or name other corpora "
            "with --data; labelled pairs of a single task (tasks.NAME.corpora) are prepared with `ernie prepare-pairs`"
        )


def has_heldout(path: str) -> bool:
    """Whether the corpus at ``path`` has held-out documents."""
    return bool(read_corpus_info(path)["splits"].get("heldout", {}).get("n_documents"))


def open_heldout(plan: TrainingPlan, config: ErnieConfig) -> dict[str, StepReader]:
    """Open the held-out split of every task, except tasks with a corpus that has no held-out split (not evaluated)."""
    readers = {}
    for name in plan.recipe.tasks:
        (group,) = sum_tasks(plan.recipe, [name]).groups
        if all(has_heldout(corpus.path) for corpus in group.corpora):
            readers[name] = group_data(plan.recipe, group, "heldout", config, task_id=plan.task_id(name)).open()
    return readers


def row_readers(reader: StepReader | JointStepReader) -> list[StepReader]:
    """The readers of each set of rows that a reader makes."""
    return reader.groups if isinstance(reader, JointStepReader) else [reader]
