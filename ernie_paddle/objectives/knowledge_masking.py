"""Knowledge masking (ERNIE 1.0; ERNIE 2.0, "Word-aware Pre-training Tasks")."""

from __future__ import annotations

from dataclasses import dataclass

from ernie_paddle.objectives.shared.masked_lm import MaskedLM, MaskingSettings


@dataclass(frozen=True)
class KnowledgeMaskingSettings(MaskingSettings):
    """Settings of knowledge masking.

    Attributes:
        basic, phrase, entity: Relative frequencies of rows masked in words (Chinese: characters), in phrases and in
            entities. ERNIE 1.0's three stages are three tasks in which only one of them is above 0.
    """

    basic: float = 1.0
    phrase: float = 1.0
    entity: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        shares = (self.basic, self.phrase, self.entity)
        if min(shares) < 0 or sum(shares) == 0:
            raise ValueError(f"basic, phrase and entity must be 0 or more and not all 0, found {shares}")


class KnowledgeMasking(MaskedLM[KnowledgeMaskingSettings]):
    """Predict masked words, phrases and entities, each masked as a whole.

    One granularity is drawn for every row; phrases (or entities) are then units, and so is every word outside them.
    The papers do not give the proportions of the three; equal proportions are the default.
    """

    name = "knowledge_masking"
    summary = "ERNIE 1.0/2.0: predict masked words, phrases and entities (MLM over whole units)"
    settings_type = KnowledgeMaskingSettings

    @property
    def granularities(self) -> dict[str, float]:
        """The proportions of the settings."""
        return {"basic": self.settings.basic, "phrase": self.settings.phrase, "entity": self.settings.entity}
