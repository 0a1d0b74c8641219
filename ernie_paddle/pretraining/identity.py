"""The identity of a run: everything that affects its result. A run is resumed only under the same identity."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ernie_paddle.pretraining.continuation import Origin
from ernie_paddle.pretraining.recipe import Recipe
from reader.corpora.corpus import read_corpus_info


def identity(recipe: Recipe, origin: Origin | None = None) -> dict[str, Any]:
    """Everything that affects the result of a run: the corpora and the recipe except name, monitoring and workers.

    The checkpoint from which a run continues pre-training is part of its identity.
    A corpus is identified by its content: it may be moved, but not prepared again from different text.
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
    """A short hash of the content of a prepared corpus."""
    info = read_corpus_info(corpus)
    return key_of({key: info.get(key) for key in ("fingerprint", "vocab_sha256", "splits")})


def key_of(content: dict[str, Any]) -> str:
    """A short hash of JSON-able content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
