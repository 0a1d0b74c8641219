"""A tag for every token of a sentence: softmax over linear(dropout(hidden)) at its pieces (BERT 5.3, NER).

The feature-based approach of the same section freezes the encoder and trains a network on its hidden layers. The loss
is the mean over labelled pieces only. Sentences longer than the model's input are cut into windows, and each token is
trained and predicted in the window that shows most of its context, so that no token is lost.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ernie_paddle import option_kinds as kinds
from ernie_paddle.checkpoints.heads import TOKEN, FoundHead, Head
from ernie_paddle.finetune.data.tagged_data import TaggedDataset, encode_sentences
from ernie_paddle.finetune.metrics import table_metrics as metrics
from ernie_paddle.finetune.networks.feature_sets import FEATURES
from ernie_paddle.finetune.task_type import LABEL, TaskType, require_usable
from ernie_paddle.finetune.tasks.text_task import HEADER, RDROP, TEXT_A
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.inputs import TEXT_INPUTS
from ernie_paddle.option_kinds import Option
from propeller.errors import UserError
from propeller.graph.inputs import IGNORE, Input
from propeller.graph.losses import LossTerm
from propeller.values import Arrays
from reader.batches.rows import BERT_LAYOUT, pad_flat, pad_rows
from reader.errors import DataError
from reader.tables import tags as T
from reader.tables.cells import UnusableCellError, sorted_labels
from reader.tables.table import none_usable, refusal, shown_name
from reader.tables.tagged import Tagged, open_tagged
from reader.tokenizers.base import Tokenizer

_MOST_TYPES = 1000
_KINDS = 8
_SPECIALS = BERT_LAYOUT.specials(1)


LABELLING_OPTIONS = (
    replace(TEXT_A, meaning="column of the tokens" + ", if the format has named columns"),
    Option(
        "label",
        str,
        None,
        "column of the tags",
        shown_default="label; in CoNLL files the last column",
        elsewhere="column of the label, score or tags in this table",
        of_labels=True,
    ),
    Option(
        "labels",
        kinds.comma_list,
        None,
        "the tags or entity types, in the order of the classes",
        shown_default="all in the training table",
    ),
    HEADER,
    Option(
        "doc_stride",
        kinds.positive_int,
        None,
        "stride in tokens between the windows of a long text",
        shown_default="half a window",
    ),
    Option(
        "scheme",
        str,
        "auto",
        "tag scheme of the model; auto: that of the training table, none: plain labels",
        ("auto", *T.SCHEMES),
    ),
    Option(
        "features",
        str,
        None,
        "freeze the encoder and train a BiLSTM on these hidden layers (BERT 5.3)",
        tuple(FEATURES),
        shown_default="none, which fine-tunes the encoder",
    ),
    Option("align", str, "first", "pieces of a token that get its tag", T.ALIGNMENTS),
    RDROP,
)


@dataclass(frozen=True)
class Labelling(TaskType):
    """Sequence labelling.

    Attributes:
        text_a: Column of the tokens; None: see `open_tagged`.
        label: Column of the tags; None: see `open_tagged`.
        header: Whether TSV and CSV files have a header.
        scheme: Tag scheme of the model, one of `reader.tables.tags.SCHEMES`.
        types: Entity types, in the order of the outputs; with scheme "none" the labels themselves.
        align: Pieces of a token that get its tag, "first" or "all".
        max_length: Tokens of the longest row, including [CLS] and [SEP].
        doc_stride: Stride in tokens between the windows of a long sentence.
        metric: Metric that selects the best checkpoint.
        features: One of `FEATURES`, the hidden layers of a frozen encoder that a BiLSTM reads; None for fine-tuning.
    """

    type: ClassVar[str] = "labelling"
    options: ClassVar[tuple[Option, ...]] = LABELLING_OPTIONS
    position_outputs: ClassVar[tuple[str, ...]] = ("logits", "probabilities")

    text_a: str | None
    label: str | None
    header: bool
    scheme: str
    types: tuple[str, ...]
    align: str
    max_length: int
    doc_stride: int
    metric: str
    features: str | None = None

    def __post_init__(self) -> None:
        known = ("accuracy",) if self.scheme == T.PLAIN else metrics.ENTITIES
        if self.metric not in known:
            raise UserError(f"metric {self.metric!r} is not a metric of {self.type}: {', '.join(known)}")
        if self.max_length < 8:
            raise UserError(f"max_length must be at least 8; found {self.max_length}")
        room = self.max_length - _SPECIALS
        if not 1 <= self.doc_stride <= room:
            raise UserError(f"doc_stride {self.doc_stride} must be between 1 and {room} (max_length - {_SPECIALS})")
        if not self.types:
            raise UserError("no entity tags in the training data: all tokens are outside (O)")
        if len(self.labels) < 2:
            raise UserError(f"labelling needs at least two labels; found {', '.join(self.labels)}")

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Labelling:
        """Build the task; types and scheme are given by `--labels` and `--scheme` or come from the training data."""
        names = options.labels or discover_tags(
            options.train, options.format, options.header, options.text_a, options.label, options.skip_unusable
        )
        scheme = T.find_scheme(names) if options.scheme == "auto" else options.scheme
        types, mistake = (names, None) if scheme == T.PLAIN else _entity_types(names)
        if mistake is not None and (options.labels or not types):
            raise UserError(f"--labels: {mistake}" if options.labels else f"{options.train}: {mistake}")
        return cls(
            text_a=options.text_a,
            label=options.label,
            header=options.header,
            scheme=scheme,
            types=tuple(types if options.labels else sorted_labels(types)),
            align=options.align,
            max_length=options.max_length,
            doc_stride=options.doc_stride or max(1, (options.max_length - _SPECIALS) // 2),
            metric=options.metric or ("accuracy" if scheme == T.PLAIN else metrics.ENTITIES[0]),
            features=options.features,
        )

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Labelling:
        """Build the task from the result of `to_dict`."""
        known = {key: value for key, value in settings.items() if key != "type"}
        return cls(**{**known, "types": tuple(known["types"])})

    @property
    def labels(self) -> list[str]:
        """The tags in the order of the model's outputs."""
        return T.class_names(self.scheme, self.types)

    def read(
        self, path: str | Path, tokenizer: Tokenizer, *, labelled: bool, strict: bool, format: str = "auto"
    ) -> TaggedDataset:
        """Read a whole file.

        Raises:
            DataError: A column is missing; with `strict` also if a sentence is unusable (the message names file and
                line) or there is none.
        """
        with open_tagged(path, format, self.header, self.text_a, self.label, labelled) as sentences:
            data = self._dataset(shown_name(path), sentences, tokenizer, labelled)
        if strict:
            require_usable(data)
        return data

    def stream(
        self, path: str | Path, tokenizer: Tokenizer, *, chunk_rows: int, format: str = "auto"
    ) -> Iterator[TaggedDataset]:
        """Read sentences without tags in chunks."""
        with open_tagged(path, format, self.header, self.text_a, self.label, labelled=False) as sentences:
            while chunk := list(itertools.islice(sentences, chunk_rows)):
                yield self._dataset(shown_name(path), chunk, tokenizer, labelled=False)

    def inputs(self, labelled: bool) -> Sequence[Input]:
        """`input_ids`, `segment_ids`, `attention_mask` and with `labelled` class numbers, int64 [B, T] all."""
        label = Input(LABEL, (None, None), "int64", pad=IGNORE, ignore=IGNORE)
        return (*TEXT_INPUTS, label) if labelled else TEXT_INPUTS

    def batch(self, data: TaggedDataset, rows: NDArray[np.int64], labelled: bool) -> Arrays:
        """Padded inputs of these rows, and with `labelled` their labels."""
        arrays: Arrays = pad_rows(data.encoded, rows, data.pad_id)
        if labelled:
            assert data.labels is not None
            arrays[LABEL] = pad_flat(data.labels, data.encoded, rows, IGNORE)
        return arrays

    def layer(self, config: ErnieConfig) -> Any:
        """Encoder and classifier of positions (parameters `classifier.*`); with `features` see `FrozenModel`."""
        if self.features is not None:
            from ernie_paddle.finetune.networks.frozen import FrozenModel

            return FrozenModel(config, self.features, len(self.labels))
        from ernie_paddle.finetune.networks.layers import PositionModel

        return PositionModel(config, len(self.labels))

    def losses(self, layer: Any, values: Mapping[str, Any]) -> list[LossTerm]:
        """Cross-entropy summed over the labelled pieces, and the number of correct pieces."""
        from ernie_paddle.models.losses import correct_sum, cross_entropy_sum

        logits_BTK, labels_BT = layer(values), values[LABEL]
        hits = correct_sum(logits_BTK, labels_BT)
        return [LossTerm("labelling", cross_entropy_sum(logits_BTK, labels_BT, IGNORE), LABEL, hits=hits)]

    def divergence(self, first: Any, second: Any, values: Mapping[str, Any], weight: float) -> list[LossTerm]:
        """The divergence of the distributions over the tags, at the labelled positions."""
        from ernie_paddle.finetune.networks.divergence import of_classes

        return of_classes(first, second, values, weight)

    @classmethod
    def texts(cls, path: str | Path, options: Mapping[str, Any]) -> Iterator[str]:
        """The sentences, as tokens joined by spaces."""
        form, header = str(options.get("format", "auto")), bool(options.get("header", True))
        with open_tagged(path, form, header, options.get("text_a"), None, labelled=False) as sentences:
            yield from (" ".join(sentence.tokens) for sentence in sentences)

    def head(self) -> FoundHead:
        """The head of a token classification; with frozen features only our own format can hold it."""
        if self.features is not None:
            return FoundHead(only_ours="fine-tuned with --features, and no class of another project has its BiLSTM")
        return FoundHead(Head(TOKEN, tuple(self.labels)))

    def outputs(self, layer: Any, values: Mapping[str, Any]) -> dict[str, Any]:
        """`logits` [B, T, K] and their softmax `probabilities` [B, T, K]."""
        from paddle.nn import functional as F

        logits_BTK = layer(values)
        return {"logits": logits_BTK, "probabilities": F.softmax(logits_BTK, axis=-1)}

    def score(self, outputs: Arrays, data: TaggedDataset) -> dict[str, float]:
        """Entity F1, precision and recall, accuracy of the tags, mean cross-entropy of first pieces (nats)."""
        assert data.marked is not None
        logits = outputs["logits"][data.places].astype(np.float64)
        logits -= logits.max(axis=-1, keepdims=True)
        log_probabilities = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        wanted = data.first_tags(data.marked, self.scheme)
        loss = -log_probabilities[np.arange(len(wanted)), wanted].mean()
        return {**self._metrics(logits.argmax(axis=-1), data), "loss": float(loss)}

    def baseline(self, data: TaggedDataset) -> dict[str, float]:
        """The metrics of always answering the most frequent tag (with entities nearly always O)."""
        assert data.marked is not None
        wanted = T.write_tags(data.marked, self.scheme)
        return self._metrics(np.full(len(wanted), np.bincount(wanted).argmax()), data)

    def tuned(self, outputs: Arrays, data: TaggedDataset) -> Labelling:
        """The task unchanged, as nothing is fitted to the development data."""
        return self

    def answer_columns(self) -> list[str]:
        """The columns of the tokens, their tags, and the probabilities of these tags at the first piece."""
        return ["tokens", "prediction", "probability"]

    def answers(self, outputs: Arrays, data: TaggedDataset) -> dict[int, dict[str, Any]]:
        """The most probable tags, corrected to a valid sequence (an entity in IOB2 begins with B, etc.)."""
        probabilities = outputs["probabilities"][data.places]
        numbers = probabilities.argmax(axis=-1).astype(np.int64)
        marked = T.read_classes(numbers, self.scheme, data.sentences)
        names = np.array(self.labels, dtype=object)[T.write_tags(marked, self.scheme)]
        said = data.first_tags(marked, self.scheme)
        columns = (names, probabilities[np.arange(len(said)), said].astype(np.float64))
        parts = zip(*(np.split(column, data.token_offsets[1:-1]) for column in columns), strict=True)
        return {
            line: {"tokens": tokens, "prediction": names.tolist(), "probability": values.tolist()}
            for line, tokens, (names, values) in zip(data.sentence_lines, data.tokens, parts, strict=True)
        }

    def _metrics(self, numbers: NDArray[np.int64], data: TaggedDataset) -> dict[str, float]:
        """Metrics of class numbers [N]: entities are compared as IOB2, which keeps all their bounds."""
        assert data.marked is not None
        if self.scheme == T.PLAIN:
            return {"accuracy": float((numbers == data.marked.types).mean())}
        names = np.array(T.class_names("iob2", self.types), dtype=object)
        found = T.read_classes(numbers.astype(np.int64), self.scheme, data.sentences)
        truth, answer = (
            [part.tolist() for part in np.split(names[T.write_tags(marked, "iob2")], data.token_offsets[1:-1])]
            for marked in (data.marked, found)
        )
        return metrics.entity_metrics(truth, answer)

    def _dataset(self, source: str, sentences: Iterable[Tagged], tokenizer: Tokenizer, labelled: bool) -> TaggedDataset:
        codes = _Codes(self.scheme, self.types)
        used: list[Tagged] = []
        numbers: list[int] = []
        problems: list[tuple[int, str]] = []
        for sentence in sentences:
            problem = sentence.problem
            if not problem and labelled:
                try:
                    numbers += list(map(codes.__getitem__, sentence.tags))
                except UnusableCellError as error:
                    place = next(place for place, tag in enumerate(sentence.tags) if tag not in codes)
                    problem = f"token {place + 1} ({sentence.tokens[place]!r}): {error}"
            if problem:
                problems.append((sentence.line, problem))
            else:
                used.append(sentence)
        offsets = np.cumsum([0, *(len(sentence.tokens) for sentence in used)])
        sentence_of = np.repeat(np.arange(len(used)), np.diff(offsets))
        marked = None
        if labelled:
            types, kinds = np.divmod(np.array(numbers, np.int64), _KINDS)
            plain = self.scheme == T.PLAIN
            marked = T.read_classes(types, T.PLAIN, sentence_of) if plain else T.read_tags(kinds, types, sentence_of)
        return encode_sentences(
            source,
            used,
            problems,
            tokenizer,
            max_length=self.max_length,
            stride=self.doc_stride,
            marked=marked,
            scheme=self.scheme,
            align=self.align,
        )


class _Codes(dict[str, int]):
    """Tag -> number of its type times _KINDS, plus its kind."""

    def __init__(self, scheme: str, types: Sequence[str]) -> None:
        super().__init__()
        self._scheme = scheme
        self._types = {name: number for number, name in enumerate(types)}

    def __missing__(self, tag: str) -> int:
        kind, name = (0, tag) if self._scheme == T.PLAIN else T.split_tag(tag)
        if tag == T.OUTSIDE and self._scheme != T.PLAIN:
            number = 0
        elif name in self._types:
            number = self._types[name]
        else:
            shown = ", ".join(list(self._types)[:10]) + (", …" if len(self._types) > 10 else "")
            what = "label" if self._scheme == T.PLAIN else "entity type in the tag"
            raise UnusableCellError(f"unknown {what} {tag!r}; those of the training data or --labels are: {shown}")
        self[tag] = number * _KINDS + kind
        return self[tag]


def _entity_types(tags: Sequence[str]) -> tuple[list[str], str | None]:
    """The entity types, and the reason why the first invalid tag is not one (None if all are valid).

    Reading refuses the sentences with invalid tags and knows their lines.
    """
    types: dict[str, None] = {}
    mistake = None
    for tag in tags:
        if tag == T.OUTSIDE:
            continue
        try:
            types[T.split_tag(tag)[1]] = None
        except UnusableCellError as error:
            mistake = mistake or str(error)
    return list(types), mistake


def discover_tags(
    path: str, format: str, header: bool, tokens: str | None, tags: str | None, skip_unusable: bool = False
) -> list[str]:
    """All tags of a file, in the order of `sorted_labels`; with `skip_unusable` only those of usable sentences.

    Raises:
        DataError: A sentence is unusable, there are none, or there are so many tags that the column cannot hold tags.
    """
    found: set[str] = set()
    problems: list[tuple[int, str]] = []
    with open_tagged(path, format, header, tokens, tags, labelled=True) as sentences:
        for sentence in sentences:
            if sentence.problem:
                problems.append((sentence.line, sentence.problem))
            found.update(sentence.tags)
            if len(found) > _MOST_TYPES:
                raise DataError(
                    f"{path}:{sentence.line}: more than {_MOST_TYPES:,} different tags; set the column with --label"
                )
    if problems and not skip_unusable:
        raise refusal(path, problems)
    if not found:
        raise none_usable(path, problems)
    return sorted_labels(found)
