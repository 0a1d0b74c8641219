"""The unit of ERNIE 2.0 pre-training: an objective says how its examples are made (NumPy) and what its loss is (graph).

A new objective is one new file in this package with one subclass of :class:`Objective`; nothing else changes.
Worker processes make examples, so modules here must be importable without Paddle: import it in ``heads`` and ``loss``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np

from ernie_paddle.models.inputs import encoder_feeds
from ernie_paddle.objectives.rows import Batch, Data, Example, Part, Row, assemble
from propeller.errors import UserError
from propeller.graph.inputs import Input
from propeller.graph.losses import LossTerm
from propeller.values import Arrays, Value
from reader.corpora.corpus import DOCUMENTS
from reader.corpora.kinds import KINDS, SampleSource, corpus_kind, open_samples

if TYPE_CHECKING:
    from paddle import nn

    from ernie_paddle.models.config import ErnieConfig
    from ernie_paddle.models.encoder import Encoder, EncoderOutput


@dataclass(frozen=True)
class ObjectiveSettings:
    """Settings that every objective has.

    Attributes:
        weight: factor of this objective's mean loss in the sum that is trained.
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError(f"weight must be above 0, found {self.weight}")


S = TypeVar("S", bound=ObjectiveSettings)
_Self = TypeVar("_Self", bound="Objective[Any]")
Heads = Mapping[str, Any]
"""The layers on top of the encoder (``paddle.nn.Layer``), by the names of :meth:`Objective.heads`."""


class Objective(Generic[S]):
    """One pre-training objective with its settings, and what :meth:`with_data` computed from the data.

    A task trains several objectives on the same rows and sums their losses (ERNIE 2.0, "Continual Multi-task
    Learning": one sentence-level loss together with several token-level ones). An objective may

    * *arrange* the input, that is decide how a sample becomes ``[CLS] A [SEP] B [SEP]``: set ``arranges`` and
      override :meth:`arrange`. At most one objective of a task does; without one, a row is ``[CLS] sample [SEP]``;
    * *corrupt* the text, that is move or replace tokens: override :meth:`corrupt`;
    * *label* tokens, and mask them: override :meth:`label`;
    * read corpora of another kind (labelled pairs, say): set ``reads``; or cut them into samples of its own: override
      :meth:`open`.

    Attributes:
        name: by which recipes name it.
        summary: one line for ``ernie list objectives``.
        settings_type: frozen dataclass of its settings.
        arranges: whether it arranges the input.
        reads: kind of the corpora that it reads, a key of ``reader.corpora.kinds.KINDS``. Only the arranging objective
            of a task is asked.
        rows_per_sample: rows that :meth:`arrange` makes of one sample. All first rows of a micro-batch lie before
            all second rows, so that a loss over the two halves of the batch finds its pairs.
        min_samples: samples that a micro-batch must hold for its loss; batch sizes that never hold as many are refused.
        reads_masks: whether :meth:`label` reads what the others masked: it is then called after theirs.
        pooled: whether its loss reads ``outputs.pooled_BH``; the pooler is built where some objective does.
        labels_from_corpora: whether its classes are the labels of its corpora, and mean nothing without them.
        bound: whether :meth:`with_data` made it; only then it has heads and a loss.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    settings_type: ClassVar[type[ObjectiveSettings]]
    arranges: ClassVar[bool] = False
    reads: ClassVar[str] = DOCUMENTS
    rows_per_sample: ClassVar[int] = 1
    min_samples: ClassVar[int] = 1
    reads_masks: ClassVar[bool] = False
    pooled: ClassVar[bool] = False
    labels_from_corpora: ClassVar[bool] = False
    bound: bool = False

    def __init__(self, settings: S) -> None:
        self.settings = settings

    # ---------------------------------------------------------------- data (NumPy, in worker processes)

    @property
    def inputs(self) -> Sequence[Input]:
        """Arrays that it adds to a batch. A label input has an ``ignore`` value. Names start with the objective's name.

        An Input that is named like one of the model's replaces it (another shape of ``attention_mask``, say).
        """
        raise NotImplementedError

    @property
    def token_inputs(self) -> Sequence[Input]:
        """Values of every token that :meth:`arrange` gives to a row: positions, languages, sides, roles; [B, T] each.

        Rows are padded with the Input's ``pad``. One that is named like an input of the encoder is fed to it.
        """
        return ()

    @property
    def max_parts(self) -> int:
        """Most parts (texts closed by [SEP]) of a row that it arranges; part i has segment id i."""
        return 1

    def open(self, path: str, split: str, max_tokens: int, min_tokens: int) -> SampleSource:
        """The samples of the corpus at ``path``, each of at most ``max_tokens`` tokens without special symbols.

        Raises:
            DataError: the corpus is unusable.
            UserError: the corpus is of another kind than :attr:`reads`.
        """
        kind = corpus_kind(path)
        if kind != self.reads:
            known, name = KINDS[self.reads], getattr(self, "name", "a task whose objectives arrange nothing")
            raise UserError(
                f"{path} holds {KINDS[kind].holds}, but {name} reads {known.holds}: make a corpus of them with "
                f"`{known.command}`, and name it in tasks.NAME.corpora of the recipe"
            )
        return open_samples(path, split, max_tokens, min_tokens)

    def with_data(self: _Self, data: Data) -> _Self:
        """A copy that is bound to the data of a task; what depends on the data (classes, say) is known from then on.

        Raises:
            UserError: the data can never serve this objective.
        """
        bound = copy.copy(self)
        bound.bound = True
        bound._bind(data)
        return bound

    def _bind(self, data: Data) -> None:
        """Called on the copy that :meth:`with_data` returns: read statistics, check that the data will do.

        Raises:
            UserError: the data can never serve this objective.
        """

    def arrange(self, row: Row) -> Sequence[Example]:
        """Make the ``rows_per_sample`` rows of a sample. Must not loop without a bound; what it cannot do it notes.

        Returns:
            Examples of at most ``row.room`` tokens, with ``labels`` by Input name. Without a label, the row does
            not count for this objective.
        """
        return [default_arrangement(row)]

    def corrupt(self, batch: Batch) -> None:
        """Move or replace tokens of a micro-batch; all objectives have done so before the first one labels it.

        Marks ``batch.corrupted``, and leaves alone what is marked. The length of a row does not change.
        """

    def label(self, batch: Batch) -> Arrays:
        """Arrays of all :attr:`inputs` for a micro-batch; may mask ``batch.ids`` (then marks ``batch.corrupted``).

        Random numbers come from ``batch.uniforms``. Here: the labels that :meth:`arrange` gave to the rows.
        """
        return {item.name: row_labels(batch, item) for item in self.inputs if item.ignore is not None}

    # ---------------------------------------------------------------- completion (graph, then NumPy)

    @property
    def completion_inputs(self) -> Sequence[Input]:
        """What :meth:`complete` is fed; :meth:`label` makes these arrays beside those of :attr:`inputs`.

        An objective with such inputs completes its batches with the current parameters before they are trained on or
        evaluated (ERNIE-M, section 3.3: pseudo-tokens of back-translation). An Input that is named like one of the
        encoder's or of :attr:`token_inputs` is fed the same array.
        """
        return ()

    def complete(self, encoder: Encoder, heads: Heads, feeds: Mapping[str, Value]) -> Mapping[str, Value]:
        """What the model answers to :attr:`completion_inputs`, by name, without dropout and without a gradient."""
        raise NotImplementedError

    def completed(self, arrays: Arrays, answers: Arrays) -> Arrays:
        """The arrays of a micro-batch with the answers of :meth:`complete` in them; leaves ``arrays`` as they are."""
        raise NotImplementedError

    # ---------------------------------------------------------------- graph (Paddle)

    def heads(self, config: ErnieConfig, encoder: Encoder) -> Mapping[str, nn.Layer]:
        """Layers on top of the encoder by name. Objectives of a task share a head of the same name."""
        raise NotImplementedError

    def encode(self, encoder: Encoder, feeds: Mapping[str, Value]) -> EncoderOutput:
        """How the rows that this objective arranges are encoded: here by one pass of the encoder.

        Args:
            encoder: has the parameters that all tasks share.
            feeds: every fed variable of the Program, by Input name.
        """
        output: EncoderOutput = encoder(**encoder_feeds(feeds))
        return output

    def loss(self, heads: Heads, outputs: EncoderOutput, feeds: Mapping[str, Value]) -> Sequence[LossTerm]:
        """Terms of the loss; each total is a float32 sum over the labels of the micro-batch that do not say ignore.

        Args:
            heads: those of all objectives of the task, by the names of :meth:`heads`.
            outputs: what :meth:`encode` of the arranging objective found in the batch.
            feeds: every fed variable of the Program, by Input name.
        """
        raise NotImplementedError


AnyObjective = Objective[Any]
"""An objective with whatever settings it has."""


def default_arrangement(row: Row) -> Example:
    """``[CLS] sample [SEP]`` without labels."""
    return assemble([Part(row.sample.tokens, row.sample.flags, row.sample.document)], row.data)


def row_labels(batch: Batch, item: Input) -> np.ndarray[Any, Any]:
    """One label per row [B] from the examples; ``item.ignore`` where there is none."""
    assert item.ignore is not None
    values = [example.labels.get(item.name, item.ignore) for example in batch.examples]
    return np.asarray(values, dtype=item.dtype)
