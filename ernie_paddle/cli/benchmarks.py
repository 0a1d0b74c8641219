"""Fine-tune on all tasks of a suite of benchmarks, several seeds each, and show the papers' figures beside ours.

Writes the report, and the submission where the suite has one. Run the same command again to continue: what is finished
is not done again. Tasks whose files are not there are named and left out.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ernie_paddle import option_kinds as kinds
from ernie_paddle.benchmarks import report
from ernie_paddle.benchmarks.diagnostics import diagnosed
from ernie_paddle.benchmarks.earlier import earlier_tasks, remember
from ernie_paddle.benchmarks.plan import SuitePlan, SuiteRun, answer_paths, task_plan
from ernie_paddle.benchmarks.starting import (
    present_tasks,
    random_start,
    recipe_changes,
    starting_model,
    task_devices,
)
from ernie_paddle.benchmarks.submission import submit
from ernie_paddle.benchmarks.suite import Suite, load_suite, recipe_size, suite_names
from ernie_paddle.cli import options as opt
from ernie_paddle.cli.jobs import do_jobs, exit_code
from ernie_paddle.jobs.job import Job, Result
from ernie_paddle.jobs.runner import JobRunner
from propeller.errors import UserError

REPORT = "results.md"
SUBMISSION = "submission.zip"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    opt.argument(parser, "suite", str, f"suite of benchmarks: {', '.join(suite_names())}")
    opt.option(parser, "--model", Path, None, "checkpoint or released weights to start from; none: random weights")
    opt.option(parser, "--data_dir", Path, None, "folder with a folder per benchmark, as they are downloaded")
    opt.option(parser, "--output_dir", Path, None, "folder of everything", shown_default="runs/ and the suite's name")
    opt.option(parser, "--tasks", kinds.comma_list, None, "tasks to run", shown_default="all that are in --data_dir")
    opt.option(parser, "--seeds", kinds.positive_int, 5, "number of seeds: 0, 1, …")
    opt.option(
        parser,
        "--size",
        str,
        None,
        "whose recipes to use, and without --model the size of the random model: tiny, small, base, large, or a "
        "name in configs/arch",
        shown_default="that of --model, else tiny",
    )
    opt.option(
        parser, "--recipe", str, None, "paper whose recipes to use", shown_default="the first that knows the size"
    )
    opt.option(parser, "--vocab", Path, None, "without --model: vocabulary", shown_default="trained on the tasks' text")
    opt.option(
        parser,
        "--set",
        str,
        None,
        "option of `ernie finetune` to replace in every recipe, as epochs=1; a list as lr=[1e-5, 3e-5] is searched",
        repeat=True,
    )
    opt.option(
        parser,
        "--gpus",
        str,
        None,
        "GPUs, one task on each at a time, such as 0-7",
        shown_default="all that are visible",
    )


def run(args: argparse.Namespace) -> int:
    """Run a suite; returns the exit code, which is 3 where runs failed."""
    return exit_code(f"ernie benchmarks {args.suite}", lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    name = args.suite
    suite = load_suite(name)
    output = args.output_dir or Path("runs") / name
    if args.tasks == []:
        raise UserError("--tasks is empty; name tasks, or leave it out for all that are in --data_dir")
    wanted = suite.find(args.tasks, "--tasks") if args.tasks else list(suite.benchmarks.values())
    suite.check_recipe(args.recipe)
    changes, devices = recipe_changes(args.set or []), task_devices(args.gpus)
    if args.model is not None and args.vocab is not None:
        raise UserError("--vocab is for random weights; --model has its own vocabulary")
    found, left_out = present_tasks(wanted, args.data_dir, name)

    size = args.size or "tiny"
    start = None if args.model is None else starting_model(args.model, args.size)
    found = suite.with_recipe(found, start.size if start else recipe_size(size), args.recipe, left_out)
    start = start or random_start(size, args.vocab, suite.benchmarks.values(), args.data_dir, output)
    tasks = [task_plan(suite, task, start, args.recipe, changes, args.seeds) for task in found]
    plan = SuitePlan(tasks, args.data_dir, output, start)
    runner = JobRunner(plan.groups, output, _said(suite), devices=devices)
    earlier = earlier_tasks(suite, plan)
    for reason in earlier.passed_over:
        print(f"left out: {reason}", file=sys.stderr)
    left_out += earlier.passed_over
    by_name = {task.benchmark.name: task for task in [*tasks, *earlier.tasks]}
    shown = replace(plan, tasks=[by_name[task] for task in suite.benchmarks if task in by_name])
    made_by = f"ernie benchmarks {shlex.join(args.given_words)}"

    def write() -> str:
        # Not before: until then another process may be at work in the folder.
        remember(plan)
        results = {**earlier.results, **runner.results}
        text = report.markdown(
            suite,
            shown,
            results,
            runner.failures,
            started=start.title,
            size=start.size,
            made_by=made_by,
            left_out=left_out,
            unfinished=len(runner.jobs) - len(runner.results) - len(runner.failures),
            diagnoses=diagnosed(suite, shown, results),
        )
        (output / REPORT).write_text(text, encoding="utf-8")
        return text

    def at_end() -> None:
        print(f"report: {output / REPORT}")
        results = {**earlier.results, **runner.results}
        if suite.submission:
            submit(suite, shown, results, output / SUBMISSION)
        else:
            for path in answer_paths(shown, results):
                print(f"answers: {path}")

    return do_jobs(runner, write, at_end)


def _said(suite: Suite) -> Callable[[Job[SuiteRun], Result], str]:
    """What a progress line says of a job."""

    def said(job: Job[SuiteRun], result: Result) -> str:
        return report.figures(suite.benchmarks[job.key.task], result["best"]) if "best" in result else "done"

    return said
