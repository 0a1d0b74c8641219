"""Fine-tune on all tasks of a suite of benchmarks with several seeds, and compare with the papers' figures.

Writes the report, and the submission if the suite has one. Run the same command again to resume: finished runs are not
repeated. Tasks with missing files are reported and skipped.
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
from propeller.tools.wheels import require_paddle

REPORT = "results.md"
SUBMISSION = "submission.zip"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    opt.argument(parser, "suite", str, f"suite of benchmarks: {', '.join(suite_names())}")
    opt.option(
        parser, "--model", Path, None, "checkpoint or released weights to start from; without one, random weights"
    )
    opt.option(parser, "--data_dir", Path, None, "folder with a folder per benchmark, in the layout of the downloads")
    opt.option(parser, "--output_dir", Path, None, "folder of all results", shown_default="runs/ and the suite's name")
    opt.option(parser, "--tasks", kinds.comma_list, None, "tasks to run", shown_default="all tasks in --data_dir")
    opt.option(parser, "--seeds", kinds.positive_int, 5, "number of seeds per task (0, 1, …)")
    opt.option(
        parser,
        "--size",
        str,
        None,
        "size of the recipes, and without --model of the random model: tiny, small, base, large, or a "
        "name in configs/arch",
        shown_default="that of --model, else tiny",
    )
    opt.option(parser, "--recipe", str, None, "paper whose recipes to use", shown_default="the first that has the size")
    opt.option(
        parser,
        "--vocab",
        Path,
        None,
        "without --model: vocabulary file or tokenizer folder",
        shown_default="trained on the tasks' text",
    )
    opt.option(
        parser,
        "--set",
        str,
        None,
        "option of `ernie finetune` to replace in every recipe, such as epochs=1; all values of a list such as "
        "lr=[1e-5, 3e-5] are tried",
        repeat=True,
    )
    opt.option(
        parser,
        "--gpus",
        str,
        None,
        "GPUs, such as 0-7; each GPU runs one task at a time",
        shown_default="all visible GPUs",
    )


def run(args: argparse.Namespace) -> int:
    """Run a suite; returns the exit code, which is 3 if runs failed."""
    return exit_code(f"ernie benchmarks {args.suite}", lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    name = args.suite
    suite = load_suite(name)
    output = args.output_dir or Path("runs") / name
    if args.tasks == []:
        raise UserError("--tasks is empty; name tasks, or remove the option to run all tasks in --data_dir")
    wanted = suite.find(args.tasks, "--tasks") if args.tasks else list(suite.benchmarks.values())
    suite.check_recipe(args.recipe)
    changes, devices = recipe_changes(args.set or []), task_devices(args.gpus)
    if args.model is not None and args.vocab is not None:
        raise UserError("--vocab is for random weights; remove it, as --model has its own vocabulary")
    found, left_out = present_tasks(wanted, args.data_dir, name)
    require_paddle()

    size = args.size or "tiny"
    start = None if args.model is None else starting_model(args.model, args.size)
    found = suite.with_recipe(found, start.size if start else recipe_size(size), args.recipe, left_out)
    start = start or random_start(size, args.vocab, suite.benchmarks.values(), args.data_dir, output)
    tasks = [task_plan(suite, task, start, args.recipe, changes, args.seeds) for task in found]
    plan = SuitePlan(tasks, args.data_dir, output, start)
    runner = JobRunner(plan.groups, output, _said(suite), devices=devices)
    earlier = earlier_tasks(suite, plan)
    for reason in earlier.passed_over:
        print(f"skipped: {reason}", file=sys.stderr)
    left_out += earlier.passed_over
    by_name = {task.benchmark.name: task for task in [*tasks, *earlier.tasks]}
    shown = replace(plan, tasks=[by_name[task] for task in suite.benchmarks if task in by_name])
    made_by = f"ernie benchmarks {shlex.join(args.given_words)}"

    def write() -> str:
        # Called only now, because another process may have used the folder before.
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
                print(f"predictions: {path}")

    return do_jobs(runner, write, at_end)


def _said(suite: Suite) -> Callable[[Job[SuiteRun], Result], str]:
    """The text about a job in a progress line."""

    def said(job: Job[SuiteRun], result: Result) -> str:
        return report.figures(suite.benchmarks[job.key.task], result["best"]) if "best" in result else "done"

    return said
