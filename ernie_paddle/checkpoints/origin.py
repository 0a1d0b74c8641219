"""The record of its source in a checkpoint that `ernie convert` wrote, so that it can be converted back."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ernie_paddle.checkpoints.heads import FoundHead, Head
from ernie_paddle.checkpoints.weights import Weights
from propeller.errors import UserError

ORIGIN = "origin.json"


def origin_document(weights: Weights, family: str) -> dict[str, Any]:
    """The content of the origin file."""
    head = None if weights.head is None else asdict(weights.head)
    return {"family": family, "head": head, "only_ours": weights.only_ours}


def read_origin(folder: Path) -> tuple[str, FoundHead] | None:
    """Read the family and the head; None for a checkpoint that was trained here.

    Raises:
        UserError: The file is damaged.
    """
    path = folder / ORIGIN
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        head = values["head"]
        if head is not None:
            head = Head(**{**head, "labels": tuple(head["labels"])})
        return str(values["family"]), FoundHead(head, values["only_ours"])
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: damaged or of another version ({error!r}); convert the source again") from None
