"""The architecture of an encoder, as data.

The keys are those of Hugging Face and PaddleNLP. The configuration files of the ERNIE releases have different names for
a few of them (`sent_type_vocab_size`, `epsilon`), which are accepted too. Any other key is an error.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from propeller.errors import UserError
from reader.batches.rows import RowLayout

_ALIASES = {
    "sent_type_vocab_size": "type_vocab_size",
    "epsilon": "layer_norm_eps",
    "layer_norm_epsilon": "layer_norm_eps",
    "ffn_hidden_size": "intermediate_size",
}
_ACTIVATIONS = ("gelu", "relu")
FAMILIES = ("bert", "ernie", "ernie_gen", "ernie_m")
"""The families of encoders, which determine the project's names and the layout of rows of an encoder."""
_MAY_BE_ZERO = (
    "type_vocab_size",
    "task_type_vocab_size",
    "position_offset",
    "pad_token_id",
    "num_hidden_layers",
    "default_task_id",
)


@dataclass(frozen=True)
class ErnieConfig:
    """Sizes and rates of one encoder (BERT section 3; ERNIE 2.0 section 4.1 for the sizes base and large).

    Attributes:
        vocab_size: Rows of the word embedding; may exceed the number of pieces in the vocabulary file.
        hidden_size: H, divisible by `num_attention_heads`.
        num_hidden_layers: Number of blocks.
        num_attention_heads: Heads per block.
        intermediate_size: F, the width of the feed-forward layer; 4·hidden_size by default.
        hidden_act: "gelu" (exact, with erf) or "relu", in the feed-forward layers and in the MLM head.
        hidden_dropout_prob: Dropout rate after the embeddings and after both halves of a block.
        attention_probs_dropout_prob: Dropout rate of the attention probabilities.
        max_position_embeddings: Rows of the position table, including the first `position_offset` ones.
        type_vocab_size: Rows of the segment table; 0 builds no segment embedding (ERNIE-M).
        task_type_vocab_size: Rows of the task table of ERNIE 2.0.
        use_task_id: Whether the task table is built.
        layer_norm_eps: Epsilon of every LayerNorm. The releases differ (1e-5 in the static ones, 1e-12 in PaddleNLP
            and Hugging Face), so a configuration file must state it.
        initializer_range: Standard deviation of the truncated normal distribution of new weights.
        pad_token_id: Id of [PAD] (1 in ERNIE-M).
        position_offset: Offset added to every position id (2 in ERNIE-M).
        default_task_id: Task id of inputs that have none: the task id with which a model was fine-tuned.
        family: One of `FAMILIES`.
    """

    vocab_size: int
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 0
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    task_type_vocab_size: int = 16
    use_task_id: bool = False
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    pad_token_id: int = 0
    position_offset: int = 0
    default_task_id: int = 0
    family: str = "ernie"

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            UserError: A value has the wrong type or is out of range.
        """
        if self.intermediate_size == 0:
            object.__setattr__(self, "intermediate_size", 4 * self.hidden_size)
        for field in dataclasses.fields(self):
            self._check_field(field.name, str(field.type), getattr(self, field.name))
        if self.hidden_act not in _ACTIVATIONS:
            raise UserError(f"hidden_act is {self.hidden_act!r}; it must be one of {', '.join(_ACTIVATIONS)}")
        if self.family not in FAMILIES:
            raise UserError(f"family is {self.family!r}; it must be one of {', '.join(FAMILIES)}")
        if self.hidden_size % self.num_attention_heads:
            raise UserError(
                f"hidden_size ({self.hidden_size}) is not divisible by num_attention_heads "
                f"({self.num_attention_heads}); change one of them"
            )
        if self.use_task_id and self.task_type_vocab_size == 0:
            raise UserError("use_task_id is true but task_type_vocab_size is 0; give the number of task ids")
        if self.default_task_id >= (self.task_type_vocab_size if self.use_task_id else 1):
            raise UserError(
                f"default_task_id ({self.default_task_id}) is none of the {self.task_type_vocab_size} task ids, or "
                "use_task_id is false"
            )
        if self.pad_token_id >= self.vocab_size:
            raise UserError(f"pad_token_id ({self.pad_token_id}) is outside a vocabulary of {self.vocab_size} ids")
        if self.position_offset >= self.max_position_embeddings:
            raise UserError(
                f"position_offset ({self.position_offset}) leaves no position in a table of "
                f"{self.max_position_embeddings} rows (max_position_embeddings)"
            )

    @staticmethod
    def _check_field(name: str, kind: str, value: object) -> None:
        if kind == "bool":
            if not isinstance(value, bool):
                raise UserError(f"{name} is {value!r}; it must be true or false")
        elif kind == "int":
            least = 0 if name in _MAY_BE_ZERO else 1
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UserError(f"{name} is {value!r}; it must be a whole number, at least {least}")
        elif kind == "float":
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                raise UserError(f"{name} is {value!r}; it must be a number")
            if name.endswith("_prob") and not 0 <= value < 1:
                raise UserError(f"{name} is {value!r}; it must be at least 0 and below 1")
            if not name.endswith("_prob") and not value > 0:
                raise UserError(f"{name} is {value!r}; it must be above 0")

    @property
    def head_size(self) -> int:
        """Width D of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def max_length(self) -> int:
        """Tokens of the longest sequence for which the position table has positions."""
        return self.max_position_embeddings - self.position_offset

    @property
    def target_segment(self) -> int:
        """Segment id of generated text: 3 as in ERNIE-GEN if the model has it, else that of a second text."""
        return 3 if self.type_vocab_size > 3 else max(0, min(1, self.type_vocab_size - 1))

    @property
    def layout(self) -> RowLayout:
        """How this encoder's family joins the texts of a row."""
        return RowLayout(separators=2 if self.family == "ernie_m" else 1)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "the model configuration") -> ErnieConfig:
        """Build from a mapping of keys, such as a parsed file.

        Args:
            values: Values by key; keys are the names of this class or of the releases.
            where: Description of the mapping, for messages.

        Raises:
            UserError: A key is unknown, missing or given twice under two names, or its value is unusable.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        known: dict[str, Any] = {}
        for key, value in values.items():
            name = _ALIASES.get(key, key)
            if name not in names:
                near = difflib.get_close_matches(str(key), [*names, *_ALIASES], n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; known keys: {', '.join(names)}"
                raise UserError(f"{where}: unknown key {key!r}{hint}")
            if name in known:
                raise UserError(f"{where}: {name!r} is given twice (as {key!r} too); keep one")
            known[name] = value
        for name, advice in (
            ("vocab_size", "the number of rows of the word embedding"),
            ("layer_norm_eps", "1e-5 in the static ERNIE releases, 1e-12 in PaddleNLP, BERT and Hugging Face"),
        ):
            if name not in known:
                raise UserError(f"{where}: {name!r} is missing; give it ({advice})")
        known.setdefault("family", _unstated_family(known))
        try:
            return cls(**known)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None

    @classmethod
    def from_json(cls, path: str | Path) -> ErnieConfig:
        """Read a JSON file written by `save_json`, or the configuration file of a release.

        Raises:
            UserError: The file is missing, is not a JSON object, or does not describe an encoder.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(
                f"{path}: cannot be read ({error.strerror}); give the path of a model configuration"
            ) from None
        except ValueError as error:
            raise UserError(f"{path}: is not JSON ({error})") from None
        if not isinstance(values, dict):
            raise UserError(f"{path}: holds {type(values).__name__}, not an object of keys and values")
        return cls.from_dict(values, where=str(path))

    def to_dict(self) -> dict[str, Any]:
        """All keys and values; `from_dict` of them gives an equal configuration.

        Keys that earlier versions and other projects do not know are omitted if they have their default, so that these
        can read the file.
        """
        plain = dataclasses.asdict(self)
        for name, usual in (("default_task_id", 0), ("family", _unstated_family(plain))):
            if plain[name] == usual:
                del plain[name]
        return plain

    def save_json(self, path: str | Path) -> None:
        """Write the result of `to_dict` as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")


def _unstated_family(values: Mapping[str, Any]) -> str:
    """The family of a configuration file of an earlier version, which does not state it."""
    return "ernie_m" if values.get("position_offset") == 2 and values.get("type_vocab_size") == 0 else "ernie"
