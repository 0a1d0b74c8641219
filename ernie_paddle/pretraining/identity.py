"""What decides the result of a run: runs of another identity cannot continue it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ernie_paddle.pretraining.continuation import Origin
from ernie_paddle.pretraining.recipe import Recipe
from reader.corpora.corpus import read_corpus_info


def identity(recipe: Recipe, origin: Origin | None = None) -> dict[str, Any]:
    """What decides the result of a run: the recipe but for its name and how it is watched and fed, and the corpora.

    A run that goes on from a checkpoint is another one than from any other checkpoint.
    A corpus counts by its content, so it may be moved, but not be prepared anew from other text.
    """
    plain = recipe.to_dict()
    for key in ("name", "description"):
        plain.pop(key)
    for key in ("checkpoint_every", "keep_last", "log_every", "eval_every", "eval_batches", "workers"):
        plain["train"].pop(key)
    for section in (plain["data"], *plain["tasks"].values()):
        section["corpora"] = [
            {"weight": corpus["weight"], "content": content_of(corpus["path"])} for corpus in section["corpora"]
        ]
    if origin is not None:
        plain["continued_from"] = origin.sha256
    return plain


def content_of(corpus: str) -> str:
    """A short hash of what a prepared corpus holds."""
    info = read_corpus_info(corpus)
    return key_of({key: info.get(key) for key in ("fingerprint", "vocab_sha256", "splits")})


def key_of(content: dict[str, Any]) -> str:
    """A short hash of JSON-able content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
