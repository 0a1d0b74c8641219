"""The learning rates of the tasks of a run."""

from __future__ import annotations

from ernie_paddle.pretraining.schedule.plan import TrainingPlan
from propeller.errors import UserError
from propeller.run.lr import LrConfig


def learning_rates(plan: TrainingPlan) -> dict[str, LrConfig]:
    """The learning rate of each trained task or sum, over the run's steps or over its own steps (with its own warm-up).

    Raises:
        UserError: The warm-up is longer than the training.
    """
    recipe, schedule = plan.recipe, plan.schedule
    settings = recipe.train.learning_rate
    rates = {}
    for name, task_sum in plan.trained.items():
        per_task = settings.per == "task"
        steps = schedule.count_before(schedule.total_steps, name) if per_task else schedule.total_steps
        total = settings.total_steps or steps
        if total < steps:
            raise UserError(
                f"{recipe.name}: train.learning_rate.total_steps ({total}) is less than the {steps} steps of training"
            )
        own = [recipe.tasks[task].warmup_steps for task in task_sum.tasks]
        warmup = next((steps for steps in reversed(own) if steps is not None), settings.warmup_steps)
        if settings.kind in ("linear", "cosine") and warmup > total:
            whose = f"of task {name!r}" if per_task else "of the run"
            raise UserError(
                f"{recipe.name}: train.learning_rate.warmup_steps ({warmup}) is larger than the {total} "
                f"steps {whose}; lower it or raise schedule.steps_per_task"
            )
        rates[name] = LrConfig(settings.kind, settings.peak, warmup, total)
    return rates
