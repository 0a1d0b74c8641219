"""A model directory of either kind as one function: inputs of a batch -> outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from ernie_paddle.checkpoints.model_dir import ModelDir
from ernie_paddle.finetune.serving.inference import Infer
from ernie_paddle.finetune.task_type import TaskType
from ernie_paddle.models.config import ErnieConfig
from propeller.errors import UserError
from propeller.graph.spec import ProgramSpec

ANSWER_TASK = "answer"


def answer_task(task: TaskType, config: ErnieConfig) -> ProgramSpec:
    """The predictions of a fine-tuned model, as a Program for the Learner and the export."""
    return ProgramSpec(ANSWER_TASK, task.inputs(False), lambda: task.layer(config), task.outputs)


def model_runner(model: ModelDir, task: TaskType) -> Infer:
    """Computes the outputs of a model's task with a static Program (checkpoint) or Paddle Inference (exported).

    Raises:
        UserError: The model's parameters do not fit its configuration.
    """
    if model.kind == "exported":
        return _exported(model)
    from propeller.graph.optim import OptimizerConfig
    from propeller.learner import Learner

    learner = Learner(OptimizerConfig(), seed=0)
    learner.add(answer_task(task, model.config))
    report = learner.load_parameters(model.parameters())
    wrong = [*report.missing, *(name for name, _, _ in report.mismatched)]
    if wrong:
        raise UserError(
            f"{model.path}: {len(wrong)} parameters are missing or have another shape ({', '.join(wrong[:3])})"
        )

    def run(batch: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        return learner.infer(ANSWER_TASK, batch)

    return run


def _exported(model: ModelDir) -> Infer:
    from propeller.serving.predictor import Predictor

    predictor = Predictor(model.path)

    def run(batch: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        return predictor.run(batch)

    return run
