"""Fine-tune on all tasks of a suite of benchmarks, several seeds each, and show the papers' figures beside ours.

Writes the report, and the submission where the suite has one. Run the same command again to continue: what is finished
is not done again. Tasks whose files are not there are named and left out.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ernie_paddle.benchmarks.benchmark import Benchmark
from ernie_paddle.benchmarks.suite import SIZES, Suite, load_suite, size_of, suite_names, variants
from ernie_paddle.cli import options as opt
from ernie_paddle.cli.main import EXIT_INTERRUPTED, EXIT_MISTAKE, one_line, with_underscores
from ernie_paddle.verbs import VerbFailedError
from propeller.errors import UserError
from propeller.settings import unknown_name
from reader.errors import DataError

EXIT_FAILED_RUNS = 3
REPORT = "results.md"
SUBMISSION = "submission.zip"


def build_parser(suite: str) -> opt.Parser:
    """The options of `run.sh glue` and its like."""
    parser = opt.Parser(prog=f"run.sh {suite}", description=__doc__, allow_abbrev=False)
    opt.option(parser, "--model", Path, None, "checkpoint or released weights to start from; none: random weights")
    opt.option(parser, "--data_dir", Path, None, "folder with a folder per benchmark, as they are downloaded")
    opt.option(parser, "--output_dir", Path, None, "folder of everything", shown_default="runs/ and the suite's name")
    opt.option(parser, "--tasks", opt.comma_list, None, "tasks to run", shown_default="all that are in --data_dir")
    opt.option(parser, "--seeds", opt.positive_int, 5, "number of seeds: 0, 1, …")
    opt.option(
        parser,
        "--size",
        str,
        None,
        "whose recipes to use, and without --model the size of the random model",
        choices=SIZES,
        shown_default="that of --model; without it tiny",
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
    return parser


def run(argv: Sequence[str]) -> int:
    """Run a suite; returns the exit code.

    Raises:
        UserError, DataError, OSError: a mistake of a person.
        VerbFailedError: a vocabulary could not be trained; the verb has said why.
    """
    if not argv or argv[0].startswith("-"):
        raise UserError(f"name a suite first: {', '.join(suite_names())}")
    name = argv[0]
    suite = load_suite(name)
    args = build_parser(name).parse_args(with_underscores(list(argv[1:])))
    output = args.output_dir or Path("runs") / name
    wanted = suite.find(args.tasks, "--tasks") if args.tasks else list(suite.benchmarks.values())
    found, left_out = _present(wanted, args.data_dir, name)

    from ernie_paddle.benchmarks import report
    from ernie_paddle.benchmarks.plan import SuitePlan, TaskPlan
    from ernie_paddle.jobs.runner import InterruptedRunError, JobRunner

    changes, devices = _changes(args.set or []), _devices(args.gpus)
    start, identity, size, started, has_task_ids = _start(args, output, found)
    tasks = []
    for benchmark in found:
        recipe, settings = suite.settings(benchmark.name, size, args.recipe)
        settings = {**settings, **changes}
        if not has_task_ids:
            settings.pop("task_id", None)
        tasks.append(TaskPlan(benchmark, recipe, variants(settings), range(args.seeds)))
    plan = SuitePlan(tasks, args.data_dir, output, start, identity)
    output.mkdir(parents=True, exist_ok=True)
    named = {benchmark.name: benchmark for benchmark in found}
    runner = JobRunner(
        plan.groups(),
        output,
        lambda job, result: report.figures(named[job.key.task], result["best"]) if "best" in result else "done",
        devices=devices,
    )
    made_by = f"bash run.sh {shlex.join(argv)}"

    def write() -> str:
        text = report.markdown(
            suite,
            plan,
            runner.results,
            runner.failures,
            started=started,
            size=size,
            made_by=made_by,
            left_out=left_out,
        )
        (output / REPORT).write_text(text, encoding="utf-8")
        return text

    try:
        runner.run(write)
    except InterruptedRunError:
        write()
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return EXIT_INTERRUPTED
    print(write())
    print(f"report: {output / REPORT}")
    if suite.submission:
        _submit(suite, plan, runner.results, output / SUBMISSION)
    if runner.failures:
        print(f"{len(runner.failures)} runs failed; the same command tries them again", file=sys.stderr)
    return EXIT_FAILED_RUNS if runner.failures else 0


def _present(wanted: Sequence[Benchmark], data_dir: Path | None, suite: str) -> tuple[list[Benchmark], list[str]]:
    """The tasks whose files are there, and what is missing of the others.

    Raises:
        UserError: there is none.
    """
    if data_dir is None or not data_dir.is_dir():
        given = "no --data_dir given" if data_dir is None else f"--data_dir {data_dir}: no such folder"
        print(f"{suite} needs a folder that holds (each file may be packed as .gz)", file=sys.stderr)
        for task in wanted:
            print(f"  {task.name}: {task.folders[0]}/ with {task.layout()}", file=sys.stderr)
        raise UserError(f"{given}; give the folder with these files")
    found, left_out = [], []
    for task in wanted:
        try:
            task.tables(data_dir)
            found.append(task)
        except UserError as error:
            left_out.append(str(error))
            print(f"left out: {error}", file=sys.stderr)
    if not found:
        raise UserError(f"--data_dir {data_dir} holds no task of {suite} (what each needs is said above)")
    return found, left_out


def _start(args: Any, output: Path, tasks: Sequence[Benchmark]) -> tuple[dict[str, Any], str, str, str, bool]:
    """What all runs start from: options of `ernie finetune`, identity, size, in words, whether it has task ids."""
    from ernie_paddle.benchmarks.vocabulary import train_vocabulary
    from ernie_paddle.finetune.start import model_identity

    if args.model is not None:
        if args.vocab is not None:
            raise UserError("--vocab is for random weights; --model has its own vocabulary")
        config, identity = model_identity(args.model)
        size = args.size or size_of(config)
        print(f"recipes for size {size}, from {args.model}", file=sys.stderr)
        return {"model": args.model}, identity, size, f"`{args.model}`", bool(config.use_task_id)
    size = args.size or "tiny"
    print(
        f"WARNING: no --model given: every run starts from RANDOM weights of size {size!r}; nothing is pre-trained, "
        "and the figures say only that the commands work",
        file=sys.stderr,
    )
    output.mkdir(parents=True, exist_ok=True)
    vocab = args.vocab or train_vocabulary(output, tasks, args.data_dir, size)
    return {"size": size, "vocab": vocab}, f"random:{size}", size, f"RANDOM weights of size `{size}`", True


def _changes(given: Sequence[str]) -> dict[str, Any]:
    """The options that `--set` replaces.

    Raises:
        UserError: not written as name=value, or there is no such option.
    """
    from ernie_paddle.cli.main import build_parser as verb_parser

    known = {name.removeprefix("--") for name in verb_parser("finetune").option_names()}
    changes = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set {text}: write it as name=value, for example epochs=1")
        if name not in known:
            raise unknown_name("option of `ernie finetune`", name, known, "--set")
        try:
            changes[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(f"--set {text}: {value!r} is not a value") from None
    return changes


def _devices(gpus: str | None) -> list[Mapping[str, str]]:
    """Variables of the environment, one set for each device that takes a task at a time."""
    from propeller.fleetrun import expand_devices, visible_gpus
    from propeller.runtime import installed_wheels

    visible = visible_gpus(os.environ) if "paddlepaddle-gpu" in installed_wheels() else []
    chosen = visible if gpus is None else expand_devices(gpus)
    absent = [device for device in chosen if device not in visible]
    if absent:
        raise UserError(f"--gpus {gpus}: device {absent[0]} is not visible; visible: {', '.join(visible) or 'none'}")
    return [{"CUDA_VISIBLE_DEVICES": device} for device in chosen] or [{}]


def _submit(suite: Suite, plan: Any, results: Mapping[Any, Any], path: Path) -> None:
    """Write the submission of all tests that are answered, and say which are not."""
    from ernie_paddle.benchmarks.plan import Run
    from ernie_paddle.benchmarks.submission import Answered, unanswered, write_submission

    assert suite.submission is not None
    answered, missing = [], []
    tables = {task.benchmark.name: task.benchmark.tests(plan.data_dir) for task in plan.tasks}
    for task in suite.benchmarks.values():
        run = Run(task.name)
        for name in task.test:
            table = tables.get(task.name, {}).get(name)
            if table is None or run not in results:
                missing.append(name)
            else:
                answered.append(Answered(task, name, table, plan.folder(run) / f"{name}.jsonl"))
    if not answered:
        print(f"no submission: no test is answered; {', '.join(missing)} are not there", file=sys.stderr)
        return
    write_submission(path, suite.submission, answered)
    for test in answered:
        rows = unanswered(test)
        if rows:
            print(
                f"{test.name}: {rows} rows of {test.table} cannot be used; they get the commonest answer",
                file=sys.stderr,
            )
    print(
        f"submission: {path}, {len(answered)} of {len(answered) + len(missing)} files"
        + (f"; missing: {', '.join(missing)}" if missing else "")
    )


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m ernie_paddle.benchmarks SUITE …`; exit codes as those of `ernie`, and 3 where runs failed."""
    given = list(sys.argv[1:] if argv is None else argv)
    suite = given[0] if given and not given[0].startswith("-") else "SUITE"
    try:
        return run(given)
    except VerbFailedError as failure:
        return failure.code
    except (DataError, UserError, OSError) as error:
        print(f"run.sh {suite}: {one_line(error)}", file=sys.stderr)
        return EXIT_MISTAKE
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
