"""Submissions: the predictions for all tests of a suite as files in a zip."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ernie_paddle.benchmarks.answer_files import Answered, answers_file, glue_file, unanswered
from ernie_paddle.benchmarks.plan import SuitePlan, SuiteRun
from ernie_paddle.benchmarks.suite import Suite
from ernie_paddle.benchmarks.superglue import superglue_file
from ernie_paddle.jobs.job import Result
from reader.errors import DataError

Writer = Callable[[Answered], tuple[str, str]]
"""Maps a test to the name of its file in the zip, and the content."""


WRITERS: dict[str, Writer] = {"glue": glue_file, "answers": answers_file, "superglue": superglue_file}
"""Formats of submissions, by the name in configs/benchmarks."""


def submit(suite: Suite, plan: SuitePlan, results: Mapping[SuiteRun, Result], path: Path) -> None:
    """Write the submission of all tests with predictions, and report the other tests with the reason.

    Args:
        suite: A suite that has a submission.
        plan: Plan of all tasks to submit.
        results: Results of finished runs.
        path: Path of the zip.
    """
    assert suite.submission is not None
    answered: list[Answered] = []
    missing, failed = [], []
    for task in suite.benchmarks.values():
        run = SuiteRun(task.name)
        for name, table in task.tests(plan.data_dir).items():
            if table is None:
                missing.append(name)
            elif run not in results:
                failed.append(name)
            else:
                answered.append(Answered(task, name, table, plan.folder(run) / f"{name}.jsonl"))
    unusable = write_submission(path, suite.submission, answered)
    for name, reason in unusable.items():
        print(f"{name}: not in the submission: {reason}", file=sys.stderr)
    written = [test for test in answered if test.name not in unusable]
    instead = "an empty answer" if suite.submission == "answers" else "the most frequent prediction"
    for test in written:
        rows = unanswered(test)
        if rows:
            print(
                f"{test.name}: {rows} unusable rows of {test.table} get {instead}",
                file=sys.stderr,
            )
    absent = {"missing": missing, "without predictions (failed, or not requested)": failed, "unusable": list(unusable)}
    gaps = "".join(f"; {why}: {', '.join(names)}" for why, names in absent.items() if names)
    if written:
        print(f"submission: {path}, {len(written)} of {len(answered) + len(missing) + len(failed)} files{gaps}")
    else:
        print(f"no submission: no test has predictions{gaps}", file=sys.stderr)


def write_submission(path: Path, style: str, tests: Sequence[Answered]) -> dict[str, str]:
    """Write the zip (the same bytes for the same answers), unless no test has a file.

    Returns:
        Reasons why tests have no file (their tables cannot be read), by name.
    """
    files, unusable = {}, {}
    for test in tests:
        try:
            name, content = WRITERS[style](test)
            files[name] = content.encode("utf-8")
        except (DataError, OSError) as error:
            unusable[test.name] = str(error)
    if files:
        aside = path.with_name(f".tmp-{path.name}")
        with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, packed in files.items():
                archive.writestr(zipfile.ZipInfo(name), packed, zipfile.ZIP_DEFLATED)
        aside.replace(path)
    return unusable
