"""The unit of ERNIE 2.0 pre-training: an objective defines its examples (NumPy) and its loss (graph).

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
        weight: Factor of this objective's mean loss in the total loss.
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError(f"weight must be above 0, found {self.weight}")


S = TypeVar("S", bound=ObjectiveSettings)
_Self = TypeVar("_Self", bound="Objective[Any]")
Heads = Mapping[str, Any]
"""The layers on top of the encoder (``paddle.nn.Layer``), by their names in :meth:`Objective.heads`."""


class Objective(Generic[S]):
    """One pre-training objective with its settings, and the values that :meth:`with_data` computed from the data.

    A task trains several objectives on the same rows and sums their losses (ERNIE 2.0, "Continual Multi-task
    Learning": one sentence-level loss together with several token-level ones). An objective may

    * *arrange* the input, that is, decide how a sample becomes ``[CLS] A [SEP] B [SEP]``: set ``arranges`` and
      override :meth:`arrange`. At most one objective of a task does so; without one, a row is ``[CLS] sample [SEP]``;
    * *corrupt* the text, that is, move or replace tokens: override :meth:`corrupt`;
    * *label* tokens, and mask them: override :meth:`label`;
    * read another kind of corpus (such as labelled pairs): set ``reads``; or split corpora into samples of its own:
      override :meth:`open`.

    Attributes:
        name: Name of the objective in recipes.
        summary: One line for ``ernie list objectives``.
        settings_type: Frozen dataclass of its settings.
        arranges: Whether it arranges the input.
        reads: Kind of the corpora that it reads, a key of ``reader.corpora.kinds.KINDS``. Only that of a task's
            arranging objective is used.
        rows_per_sample: Number of rows that :meth:`arrange` makes of one sample. In a micro-batch all first rows
            precede all second rows, so that a loss over the two halves of the batch finds its pairs.
        min_samples: Number of samples that its loss needs in a micro-batch; batch sizes that never hold as many are
            refused.
        reads_masks: Whether :meth:`label` uses the masks of other objectives; it is then called after theirs.
        pooled: Whether its loss uses ``outputs.pooled_BH``; the pooler is only built if an objective uses it.
        exclusive: Whether it shares its rows with no other objective, since its encoding of them is of its own kind; it
            must also set ``arranges``.
        labels_from_corpora: Whether its classes are the labels of its corpora.
        bound: Whether :meth:`with_data` made this instance; only a bound objective has heads and a loss.
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
    exclusive: ClassVar[bool] = False
    labels_from_corpora: ClassVar[bool] = False
    bound: bool = False

    def __init__(self, settings: S) -> None:
        self.settings = settings

    # ---------------------------------------------------------------- data (NumPy, in worker processes)

    @property
    def inputs(self) -> Sequence[Input]:
        """The arrays that this objective adds to a batch. A label input has an ``ignore`` value.

        Their names start with the objective's name. An Input with the name of one of the model's inputs replaces it
        (for example, another shape of ``attention_mask``).
        """
        raise NotImplementedError

    @property
    def token_inputs(self) -> Sequence[Input]:
        """Per-token values that :meth:`arrange` gives to a row: positions, languages, sides, roles; [B, T] each.

        Rows are padded with the Input's ``pad``. An Input with the name of an encoder input is passed to the encoder.
        """
        return ()

    @property
    def max_parts(self) -> int:
        """Maximum number of parts (texts that end with [SEP]) of an arranged row; part i has segment id i."""
        return 1

    def open(self, path: str, split: str, max_tokens: int, min_tokens: int) -> SampleSource:
        """Open the samples of the corpus at ``path``, each of at most ``max_tokens`` tokens without special symbols.

        Raises:
            DataError: The corpus is unusable.
            UserError: The kind of the corpus is not :attr:`reads`.
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
        """Return a copy bound to the data of a task, which knows what depends on the data (such as its classes).

        Raises:
            UserError: The data cannot be used for this objective.
        """
        bound = copy.copy(self)
        bound.bound = True
        bound._bind(data)
        return bound

    def _bind(self, data: Data) -> None:
        """Hook called on the copy that :meth:`with_data` returns, to read statistics and check the data.

        Raises:
            UserError: The data cannot be used for this objective.
        """

    def arrange(self, row: Row) -> Sequence[Example]:
        """Make the ``rows_per_sample`` rows of a sample.

        An implementation must not loop without a bound; it reports rows that it cannot make with ``row.note``.

        Returns:
            Examples of at most ``row.room`` tokens, with ``labels`` by Input name. A row without a label does not count
            for this objective.
        """
        return [default_arrangement(row)]

    def corrupt(self, batch: Batch) -> None:
        """Move or replace tokens of a micro-batch; called for all objectives before the first one labels the batch.

        Marks its tokens in ``batch.corrupted``, and leaves marked tokens alone. The length of a row does not change.
        """

    def label(self, batch: Batch) -> Arrays:
        """Arrays of all :attr:`inputs` for a micro-batch; may mask ``batch.ids`` and then marks ``batch.corrupted``.

        Random numbers come from ``batch.uniforms`` or a generator of ``batch.keys``. This default returns the labels
        that :meth:`arrange` gave to the rows.
        """
        return {item.name: row_labels(batch, item) for item in self.inputs if item.ignore is not None}

    # ---------------------------------------------------------------- completion (graph, then NumPy)

    @property
    def completion_inputs(self) -> Sequence[Input]:
        """The inputs of :meth:`complete`; :meth:`label` makes these arrays together with those of :attr:`inputs`.

        An objective with such inputs completes its batches with the current parameters before training or evaluation
        (ERNIE-M, section 3.3: pseudo-tokens of back-translation). An Input with the name of an encoder input or of one
        of :attr:`token_inputs` takes the same array.
        """
        return ()

    def complete(self, encoder: Encoder, heads: Heads, feeds: Mapping[str, Value]) -> Mapping[str, Value]:
        """The model's predictions for :attr:`completion_inputs`, by name, without dropout and without a gradient."""
        raise NotImplementedError

    def completed(self, arrays: Arrays, answers: Arrays) -> Arrays:
        """Return the arrays of a micro-batch with the predictions of :meth:`complete`; does not modify ``arrays``."""
        raise NotImplementedError

    # ---------------------------------------------------------------- graph (Paddle)

    def heads(self, config: ErnieConfig, encoder: Encoder) -> Mapping[str, nn.Layer]:
        """Layers on top of the encoder by name. Objectives of a task share a head of the same name."""
        raise NotImplementedError

    def encode(self, encoder: Encoder, feeds: Mapping[str, Value]) -> Any:
        """Encode the rows that this objective arranges; this default runs the encoder once.

        Returns:
            An ``EncoderOutput``; what an exclusive objective returns, only its own :meth:`loss` reads.

        Args:
            encoder: The encoder, whose parameters all tasks share.
            feeds: Every input of the Program, by Input name.
        """
        output: EncoderOutput = encoder(**encoder_feeds(feeds))
        return output

    def loss(self, heads: Heads, outputs: Any, feeds: Mapping[str, Value]) -> Sequence[LossTerm]:
        """Terms of the loss; each total is a float32 sum over the labels of the micro-batch except ignored ones.

        Args:
            heads: The heads of all objectives of the task, by their names in :meth:`heads`.
            outputs: The result of :meth:`encode` of the arranging objective.
            feeds: Every input of the Program, by Input name.
        """
        raise NotImplementedError


AnyObjective = Objective[Any]
"""An objective with settings of any type."""


def default_arrangement(row: Row) -> Example:
    """``[CLS] sample [SEP]`` without labels."""
    return assemble([Part(row.sample.tokens, row.sample.flags, row.sample.document)], row.data)


def row_labels(batch: Batch, item: Input) -> np.ndarray[Any, Any]:
    """One label per row [B] from the examples; ``item.ignore`` for rows without one."""
    assert item.ignore is not None
    values = [example.labels.get(item.name, item.ignore) for example in batch.examples]
    return np.asarray(values, dtype=item.dtype)
