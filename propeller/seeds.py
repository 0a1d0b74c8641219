"""Seeds derived from their purpose, so that no state of a generator has to be saved."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *purpose: int | str) -> int:
    """A seed in [1, 2^31) that depends on ``seed`` and on every item of ``purpose``, and on nothing else.

    The seed is never 0, since a Paddle operator with seed 0 draws from the shared generator instead.
    """
    text = "\x1f".join(f"{type(item).__name__}:{item}" for item in (seed, *purpose))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % (2**31 - 1) + 1
