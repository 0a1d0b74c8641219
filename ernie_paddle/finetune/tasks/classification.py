"""Classes for single texts and pairs: softmax over linear(dropout(pooled)) (BERT 3.2; ERNIE 2.0, fine-tuning)."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ernie_paddle import option_kinds as kinds
from ernie_paddle.checkpoints.heads import SEQUENCE, FoundHead, Head
from ernie_paddle.finetune.metrics import table_metrics as metrics
from ernie_paddle.finetune.metrics.group_metrics import GROUPED, TOP1_F1, group_metrics, group_numbers
from ernie_paddle.finetune.task_type import LABEL, LABEL_WEIGHTS
from ernie_paddle.finetune.tasks.text_task import TEXT_OPTIONS, TextDataset, TextTask
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.option_kinds import Option
from propeller.errors import UserError
from propeller.graph.inputs import IGNORE, Input
from propeller.graph.losses import LossTerm
from propeller.values import Arrays
from reader.errors import DataError
from reader.tables.cells import UnusableCellError, label_name, sorted_labels, text_problem
from reader.tables.table import none_usable, open_table, refusal
from reader.tables.where import NoLabel, Selection, Where

_MOST_CLASSES = 10_000
_NOT_AGREED = "-"
"""Label of rows without a majority of annotators, in tables such as SNLI, OCNLI and CMNLI."""

LABELS = Option(
    "labels",
    kinds.comma_list,
    None,
    "the labels, in the order of the classes",
    shown_default="all in the training table",
)
CLASS_OPTIONS = (
    LABELS,
    Option(
        "label_aliases",
        kinds.comma_list,
        None,
        "other names of labels in tables, written as other=label",
        elsewhere="other names of labels in this table, such as 0=LABEL_0,1=LABEL_1",
        of_labels=True,
    ),
    Option(
        "group",
        kinds.comma_list,
        None,
        "columns that identify the candidates of one question; adds mrr, map, group_exact, top1",
    ),
    Option("candidate", str, None, "with --group: column of the candidate's text; adds top1_f1"),
    Option(
        "class_weights",
        kinds.comma_list,
        None,
        "weight of each label in order, or balanced: weights inverse to the frequencies",
    ),
)
"""The options of every task whose rows have classes."""


@dataclass(frozen=True)
class Classification(TextTask):
    """Classes for single texts and pairs.

    Attributes:
        labels: Classes in the order of the model's outputs.
        group: Columns that identify rows that belong together, such as the candidates of one question; they add the
            metrics of `group_metrics`, where the second label is the correct one.
        candidate: Column of the text of a row's candidate in its group.
        label_aliases: (other name, label) of labels that have several names in tables.
    """

    type: ClassVar[str] = "classification"
    options: ClassVar[tuple[Option, ...]] = (*TEXT_OPTIONS, *CLASS_OPTIONS)
    metrics: ClassVar[tuple[str, ...]] = metrics.CLASSIFICATION

    labels: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    candidate: str | None = None
    label_aliases: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.labels) < 2:
            raise UserError(f"classification needs at least two labels; found {', '.join(self.labels) or 'none'}")
        if len(set(self.labels)) < len(self.labels):
            raise UserError(f"a label is named twice: {', '.join(self.labels)}")
        if both := set(self.labels) & set(self.no_label):
            raise UserError(f"--no_label {sorted(both)[0]}: this is one of the labels; remove it from one of the two")
        if self.group and len(self.labels) != 2:
            raise UserError(f"--group needs two labels, wrong and right; found {', '.join(self.labels)}")
        if self.candidate is not None and not self.group:
            raise UserError("--candidate needs --group: give the columns that identify the candidates of one question")

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Classification:
        """Build the task; its labels are given by `--labels` or are all labels of the training table."""
        common = cls.common_options(options)
        aliases = dict(map(parse_alias, options.label_aliases or ()))
        labels = options.labels or discover_labels(
            options.train,
            common["label"],
            options.format,
            options.header,
            (common["text_a"], options.text_b),
            skip_unusable=options.skip_unusable,
            where=None if options.where is None else Where.parse(options.where),
            no_label=common["no_label"],
        )
        return cls(
            labels=tuple(dict.fromkeys(aliases.get(label, label) for label in labels)),
            group=tuple(options.group or ()),
            candidate=options.candidate,
            label_aliases=tuple(aliases.items()),
            **common,
        )

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Classification:
        """Build the task from the result of `to_dict`."""
        known = cls.settings_of(settings)
        plain = {"labels": tuple(known["labels"]), "group": tuple(known.get("group", ()))}
        return cls(**{**known, **plain, "label_aliases": tuple(map(tuple, known.get("label_aliases", ())))})

    def setting_of(self, name: str, value: Any) -> Any:
        """Add further names of labels to the known ones."""
        if name == "label_aliases":
            return (*self.label_aliases, *map(parse_alias, value))
        return super().setting_of(name, value)

    def remarks(self, options: argparse.Namespace) -> list[str]:
        """A warning if a label in the training table may mean that a row has no label."""
        if options.labels or _NOT_AGREED not in self.labels:
            return []
        return [
            f"WARNING: {options.train}: {_NOT_AGREED!r} is used as a label; if it means that a row has no label, give "
            f"--no_label {_NOT_AGREED}"
        ]

    @property
    def known_metrics(self) -> tuple[str, ...]:
        """The metrics; with groups including those of groups."""
        grouped = GROUPED if self.group else ()
        return (*self.metrics, *grouped, *((TOP1_F1,) if self.candidate is not None else ()))

    @property
    def kept_columns(self) -> tuple[str, ...]:
        """The columns of the groups and the candidates."""
        return self.group if self.candidate is None else (*self.group, self.candidate)

    def parse_label(self, cell: Any) -> int:
        """The class number of a label."""
        name = label_name(cell)
        name = dict(self.label_aliases).get(name, name)
        try:
            return self.labels.index(name)
        except ValueError:
            shown = ", ".join(self.labels[:10]) + (", …" if len(self.labels) > 10 else "")
            raise UnusableCellError(
                f"unknown label {name!r}; the labels are {shown} (from --labels or the training table; "
                "--label_aliases OTHER=LABEL gives a label another name)"
            ) from None

    @property
    def label_input(self) -> Input:
        """Class numbers, int64 [B]."""
        return Input(LABEL, (None,), "int64", pad=IGNORE, ignore=IGNORE)

    def layer(self, config: ErnieConfig) -> Any:
        """Encoder and classifier (parameters `classifier.*`)."""
        from ernie_paddle.finetune.networks.layers import PooledModel

        return PooledModel(config, len(self.labels))

    def losses(self, layer: Any, values: Mapping[str, Any]) -> list[LossTerm]:
        """Cross-entropy summed over the rows, and the number of correct rows; weighted if rows have weights [B]."""
        import paddle
        from paddle.nn import functional as F

        logits_BK, labels_B, weights_B = layer(values), values[LABEL], values.get(LABEL_WEIGHTS)
        right_B = paddle.equal(paddle.argmax(logits_BK, axis=-1), labels_B).astype("float32")
        if weights_B is None:
            total = F.cross_entropy(logits_BK, labels_B, ignore_index=IGNORE, reduction="sum")
            return [LossTerm("classification", total, LABEL, hits=right_B.sum())]
        losses_B = F.cross_entropy(logits_BK, labels_B, ignore_index=IGNORE, reduction="none").reshape([-1])
        hits = (right_B * weights_B).sum()
        return [LossTerm("classification", (losses_B * weights_B).sum(), LABEL_WEIGHTS, hits=hits)]

    def divergence(self, first: Any, second: Any, values: Mapping[str, Any], weight: float) -> list[LossTerm]:
        """The divergence of the distributions over the classes."""
        from ernie_paddle.finetune.networks.divergence import of_classes

        return of_classes(first, second, values, weight)

    def outputs(self, layer: Any, values: Mapping[str, Any]) -> dict[str, Any]:
        """`logits` [B, K] and their softmax `probabilities` [B, K]."""
        from paddle.nn import functional as F

        logits_BK = layer(values)
        return {"logits": logits_BK, "probabilities": F.softmax(logits_BK, axis=-1)}

    def score(self, outputs: Arrays, data: TextDataset) -> dict[str, float]:
        """Accuracy, F1, Matthews correlation, the metrics of groups, and mean cross-entropy (nats)."""
        assert data.labels is not None
        logits = outputs["logits"].astype(np.float64)
        logits -= logits.max(axis=-1, keepdims=True)
        log_probabilities = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        loss = -log_probabilities[np.arange(len(data.labels)), data.labels].mean()
        return {**self._metrics(logits, data), "loss": float(loss)}

    def baseline(self, data: TextDataset) -> dict[str, float]:
        """For each metric, the best value of one class for all rows.

        This is the majority-class baseline, except for a metric of the second of two classes (such as F1), for which
        the other class may be better.
        """
        assert data.labels is not None
        n_classes = len(self.labels)
        majority = int(np.bincount(data.labels, minlength=n_classes).argmax())
        tried = {majority, 1} if n_classes == 2 else {majority}
        found = [self._metrics(np.tile(np.eye(n_classes)[label], (len(data), 1)), data) for label in tried]
        return {name: max(scores[name] for scores in found) for name in found[0]}

    def _metrics(self, logits_RK: NDArray[np.float64], data: TextDataset) -> dict[str, float]:
        assert data.labels is not None
        found = metrics.classification_metrics(data.labels, logits_RK.argmax(axis=-1), len(self.labels))
        if self.group:
            groups = group_numbers([data.kept[column] for column in self.group])
            candidates = None if self.candidate is None else data.kept[self.candidate]
            found |= group_metrics(groups, data.labels, logits_RK[:, 1] - logits_RK[:, 0], candidates)
        return found

    def head(self) -> FoundHead:
        """The head of a sequence classification."""
        return FoundHead(Head(SEQUENCE, self.labels, "single_label_classification"))

    def answer_columns(self) -> list[str]:
        """The columns `prediction` and the probability of each label."""
        return ["prediction", *(f"p({label})" for label in self.labels)]

    def answers(self, outputs: Arrays, data: TextDataset) -> dict[Any, dict[str, Any]]:
        """The most probable label, and all probabilities."""
        columns = self.answer_columns()
        return {
            place: dict(zip(columns, [self.labels[int(np.argmax(row))], *(float(p) for p in row)], strict=True))
            for place, row in zip(data.places, outputs["probabilities"], strict=True)
        }


def parse_alias(text: str) -> tuple[str, str]:
    """Split `other=label` into its two names.

    Raises:
        UserError: The text has another form.
    """
    other, equals, label = (part.strip() for part in text.partition("="))
    if not (other and equals and label):
        raise UserError(f"--label_aliases: {text!r} is not written as other=label")
    return other, label


def discover_labels(
    path: str,
    column: str,
    format: str,
    header: bool,
    texts: tuple[str, str | None] | None = None,
    *,
    skip_unusable: bool = False,
    where: Where | None = None,
    no_label: Sequence[str] = (),
) -> list[str]:
    """Collect all labels of a table, in the order of `sorted_labels`.

    Args:
        path: The table.
        column: Column of the labels.
        format: As in `open_table`.
        header: As in `open_table`.
        texts: Text columns, which are checked too, so that the first unusable row of the table is reported.
        skip_unusable: Whether to skip unusable rows.
        where: Condition of the rows to read; None: all rows.
        no_label: Labels that mean that a row has no label.

    Raises:
        DataError: A row is unusable, no row is selected, there are fewer than two labels, or there are so many that the
            column cannot be a label.
    """
    found: set[str] = set()
    problems: list[tuple[int, str]] = []
    with open_table(path, format, header) as table:
        table = table.choose(*(texts or ()), column)
        rows = Selection(table.rows, where, NoLabel(column, tuple(no_label)))
        for row in rows:
            problem = row.problem or (text_problem(row, *texts) if texts else "")
            if not problem:
                try:
                    found.add(label_name(row.cells.get(column)))
                except UnusableCellError as error:
                    problem = f"column {column!r}: {error}"
            if problem:
                problems.append((row.line, problem))
            if len(found) > _MOST_CLASSES:
                raise DataError(f"{table.name}: column {column!r} has more than {_MOST_CLASSES:,} different labels")
    rows.require_any(table.name)
    if problems and not skip_unusable:
        raise refusal(table.name, problems)
    if not found:
        raise none_usable(table.name, problems)
    if len(found) < 2:
        raise DataError(f"{path}: column {column!r} has {len(found)} label(s); classification needs at least two")
    return sorted_labels(found)
