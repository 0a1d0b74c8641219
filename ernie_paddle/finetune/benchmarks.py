"""Published benchmarks as data: the files, columns, labels and metrics of each, in the layout in which it is published.

A benchmark is a line of `GLUE`; its task type does the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from propeller.errors import UserError
from propeller.settings import unknown_name


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        name: of the benchmark, and of its folder.
        type: task type, a key of TASK_TYPES.
        text_a: column of the (first) text; columns of a table without header are "1", "2", ….
        label: column of the label or score.
        metrics: what is reported; the first one decides which checkpoint is best.
        text_b: column of the second text.
        labels: the classes in the order of the model's outputs; the last of two is the positive one of F1.
        header: whether the tables' first rows name the columns.
        dev: name of the development table without its ending.
    """

    name: str
    type: str
    text_a: str
    label: str
    metrics: tuple[str, ...]
    text_b: str | None = None
    labels: tuple[str, ...] = ()
    header: bool = True
    dev: str = "dev"

    def tables(self, folder: Path) -> tuple[Path, Path]:
        """The training and the development table in `folder`, which holds a folder per benchmark; each may be .gz.

        Raises:
            UserError: one is not there.
        """
        return self._table(folder, "train"), self._table(folder, self.dev)

    def _table(self, folder: Path, stem: str) -> Path:
        wanted = folder / self.name / f"{stem}.tsv"
        for path in (wanted, wanted.with_name(f"{wanted.name}.gz")):
            if path.is_file():
                return path
        raise UserError(f"{self.name}: {wanted} (or {wanted.name}.gz) is not there")

    def arguments(self) -> list[str]:
        """The options of `ernie finetune` that say what is in the tables."""
        words = ["--type", self.type, "--metric", self.metrics[0]]
        words += ["--text_a", self.text_a, *(["--text_b", self.text_b] if self.text_b else []), "--label", self.label]
        if self.labels:
            words += ["--labels", ",".join(self.labels)]
        return words if self.header else [*words, "--no_header"]


_ENTAILMENT = ("not_entailment", "entailment")

GLUE = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark("CoLA", "classification", "4", "2", ("mcc",), labels=("0", "1"), header=False),
        Benchmark("SST-2", "classification", "sentence", "label", ("accuracy",), labels=("0", "1")),
        Benchmark(
            "MRPC", "classification", "#1 String", "Quality", ("f1", "accuracy"), text_b="#2 String", labels=("0", "1")
        ),
        Benchmark("STS-B", "regression", "sentence1", "score", ("spearman",), text_b="sentence2"),
        Benchmark(
            "MNLI",
            "classification",
            "sentence1",
            "gold_label",
            ("accuracy",),
            text_b="sentence2",
            labels=("contradiction", "entailment", "neutral"),
            dev="dev_matched",
        ),
        Benchmark("QNLI", "classification", "question", "label", ("accuracy",), text_b="sentence", labels=_ENTAILMENT),
        Benchmark("RTE", "classification", "sentence1", "label", ("accuracy",), text_b="sentence2", labels=_ENTAILMENT),
    )
}
"""Benchmarks of GLUE in the folder layout of its download (formats: gluebenchmark.com/tasks)."""


def glue_benchmarks(names: Iterable[str], where: str) -> list[Benchmark]:
    """Benchmarks by name.

    Raises:
        UserError: there is no such benchmark; names the nearest.
    """
    for name in names:
        if name not in GLUE:
            raise unknown_name("benchmark", name, GLUE, where)
    return [GLUE[name] for name in names]
