"""Finished runs as Markdown: means over the seeds with their spread, the best underlined, clear gains bold."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ernie_paddle.jobs.job import Result
from ernie_paddle.tables.figures import Figure, Figures
from ernie_paddle.tables.plan import TablePlan, TableRun

WITHOUT_INPUT = "majority class, mean score"
_METRICS = {"mcc": "MCC", "f1": "F1", "accuracy": "acc.", "spearman": "Spearman"}
_DASH = "–"


@dataclass(frozen=True)
class Column:
    """A column of figures, one per row; `low` says whether the lowest is the best."""

    title: str
    figures: Sequence[Figure | None]
    digits: int = 1
    low: bool = False

    def cells(self) -> list[str]:
        """The cells; if there are several, the best is underlined."""
        means = [round(figure.mean, self.digits) for figure in self.figures if figure]
        best = (min(means) if self.low else max(means)) if len(means) > 1 else None
        cells = []
        for figure in self.figures:
            text = figure.text(self.digits) if figure else _DASH
            cells.append(f"<u>{text}</u>" if figure and round(figure.mean, self.digits) == best else text)
        return cells


def markdown(
    plan: TablePlan,
    results: Mapping[TableRun, Result],
    failures: Mapping[TableRun, str],
    made_by: str,
    picture: str | None,
) -> str:
    """The whole report.

    Args:
        plan: The plan of the table.
        results: Results of finished runs.
        failures: Reasons of failed runs.
        made_by: The command.
        picture: File of the curves, if there is one.
    """
    figures, table = Figures(plan, results), plan.table
    lines = [f"# {table.title}", "", f"Made by `{made_by}`.", "", *_budget(plan, results), ""]
    lines.append("Figures are means over the seeds ± standard deviation (n − 1); the best of a column is underlined.")
    if table.curves:
        lines += ["", "## Held-out text after the last step", "", *_pretraining(figures)]
        lines += ["", f"![Held-out metrics over the steps]({picture})"] if picture else []
    for part, heading in (table.parts or {"": "Fine-tuning"}).items():
        rows = [name for name, row in table.rows.items() if not row.parts or not part or part in row.parts]
        if plan.benchmarks or not table.curves:
            lines += ["", f"## {heading}", "", *_finetuning(figures, rows)]
    missing = [run for trial in plan.trials for run in trial if run not in results and run not in failures]
    if missing:
        lines += ["", f"Not finished: {len(missing)} runs are still to do."]
    if failures:
        lines += ["", "## Runs that failed", "", *(f"- {run.title}: {reason}" for run, reason in failures.items())]
    return "\n".join(lines) + "\n"


def _budget(plan: TablePlan, results: Mapping[TableRun, Result]) -> list[str]:
    steps = sorted({result["steps"] for result in results.values() if "stages" in result})
    trained = f"; {' to '.join(f'{n:,}' for n in dict.fromkeys((steps[0], steps[-1])))} updates each" if steps else ""
    settings = plan.size.finetune
    tuned = ", ".join(f"{name} {value:g}" for name, value in settings.options().items())
    tuned += f", at most {settings.rows:,} training rows" if settings.rows else ""
    minutes = sum(result["seconds"] for result in results.values()) / 60
    return [
        f"- pre-training: size `{plan.size_name}`{trained}; seeds {', '.join(map(str, plan.seeds))}",
        *([f"- fine-tuning: {tuned}; best epoch on the development set"] if plan.benchmarks else []),
        f"- {len(results)} runs, {minutes:.0f} minutes in total",
    ]


def _pretraining(figures: Figures) -> list[str]:
    rows = {name: row.title for name, row in figures.plan.table.rows.items() if row.recipe}
    columns, rises = [], []
    for task in figures.tasks():
        columns.append(Column(f"{task} loss", [figures.at_end(row, task, "loss") for row in rows], 3, low=True))
        accuracy = figures.accuracy_of(task)
        if accuracy:
            columns.append(Column("acc. (%)", [figures.at_end(row, task, accuracy, 100.0) for row in rows]))
        rises.append(Column(task, [figures.rise(row, task) for row in rows], 3, low=True))
    lines = _table("method", list(rows.values()), [(column.title, column.cells()) for column in columns])
    lines += ["", "Forgetting: the loss after the last step minus the lowest loss of the run.", ""]
    return lines + _table("method", list(rows.values()), [(column.title, column.cells()) for column in rises])


def _finetuning(figures: Figures, rows: Sequence[str]) -> list[str]:
    table, benchmarks = figures.plan.table, figures.plan.benchmarks
    titles = [table.rows[row].title for row in rows]
    columns: list[tuple[str, list[str]]] = []
    if not table.curves:
        losses = Column("held-out MLM loss", [figures.mlm_loss(row) for row in rows], 3, low=True)
        columns.append((losses.title, [*losses.cells(), _DASH]))
    answers = []
    for benchmark in benchmarks:
        for metric in benchmark.metrics:
            title = f"{benchmark.name} {_METRICS.get(metric, metric)}"
            column = Column(title, [figures.score(row, benchmark, metric) for row in rows])
            answer = figures.without_input(benchmark, metric)
            answers.append(answer)
            columns.append((title, [*column.cells(), answer.text(1) if answer else _DASH]))
    if not benchmarks:
        return _table("pre-training", titles, [(title, cells[:-1]) for title, cells in columns])
    averages = [Figure.of(figures.averages(row)) for row in rows]
    cells = Column("Avg.", averages).cells()
    bold, note = _clear_gains(figures, averages)
    columns.append(("Avg.", [*(f"**{cell}**" if i in bold else cell for i, cell in enumerate(cells)), _DASH]))
    papers = [table.rows[row].paper for row in rows]
    if any(papers):
        columns.append(
            ("Avg. in the paper", [*(_DASH if value is None else f"{value:.1f}" for value in papers), _DASH])
        )
    return [*_table("pre-training", [*titles, WITHOUT_INPUT], columns), *note]


def _clear_gains(figures: Figures, averages: Sequence[Figure | None]) -> tuple[Collection[int], list[str]]:
    """Rows whose average is above the baseline's by two standard deviations, as marked in "On Losses" (section 4)."""
    table, sigma = figures.plan.table, figures.sigma()
    base = Figure.of(figures.averages(table.baseline)) if table.baseline in table.rows else None
    if sigma is None or base is None or table.baseline is None:
        return (), []
    bold = {i for i, figure in enumerate(averages) if figure and figure.mean > base.mean + 2 * sigma}
    title = table.rows[table.baseline].title
    return bold, ["", f"Bold: above “{title}” by two standard deviations (σ = {sigma:.2f}, pooled over all rows)."]


def _table(corner: str, titles: Sequence[str], columns: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    head = [corner, *(title for title, _ in columns)]
    rows = [[title, *(cells[i] for _, cells in columns)] for i, title in enumerate(titles)]
    ruler = ["---", *["---:"] * len(columns)]
    return ["| " + " | ".join(cells) + " |" for cells in (head, ruler, *rows)]
