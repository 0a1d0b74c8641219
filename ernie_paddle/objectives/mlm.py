"""Masked language modelling over word pieces or whole words (BERT, section 3.1, Task #1)."""

from __future__ import annotations

from dataclasses import dataclass

from ernie_paddle.objectives.shared.masked_lm import MaskedLM, MaskingSettings


@dataclass(frozen=True)
class MlmSettings(MaskingSettings):
    """Settings of plain masked language modelling.

    Attributes:
        whole_word: Mask all pieces of a word together; otherwise each piece is masked on its own, as in the paper.
    """

    whole_word: bool = False


class Mlm(MaskedLM[MlmSettings]):
    """Predict masked word pieces, or the pieces of masked words."""

    name = "mlm"
    summary = "BERT: predict masked word pieces (whole_word: all pieces of a word together)"
    settings_type = MlmSettings

    @property
    def granularities(self) -> dict[str, float]:
        """One granularity for all rows."""
        return {"word" if self.settings.whole_word else "token": 1.0}
