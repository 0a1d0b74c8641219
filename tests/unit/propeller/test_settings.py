"""Strict settings: every mistake in a mapping is named with its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pytest

from propeller.errors import UserError
from propeller.settings import from_mapping


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    size: int
    inner: Inner = field(default_factory=Inner)
    parts: dict[str, Inner] = field(default_factory=dict)
    pair: tuple[float, float] = (0.9, 0.98)
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError("size must be at least 1")


def test_reads_nested_values() -> None:
    outer = from_mapping(
        Outer, {"size": 3, "inner": {"rate": "5e-5"}, "parts": {"x": {"kind": "b"}}, "pair": [1, 2], "limit": 7}, "f"
    )
    assert outer == Outer(3, Inner(5e-5), {"x": Inner(kind="b")}, (1.0, 2.0), 7)


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"size": 1, "iner": {}}, ["f: unknown key 'iner'", "did you mean 'inner'"]),
        ({"size": 1, "inner": {"rat": 1}}, ["f.inner", "did you mean 'rate'"]),
        ({"size": 1, "parts": {"x": {"knd": 1}}}, ["f.parts.x", "did you mean 'kind'"]),
        ({}, ["f.size", "required"]),
        ({"size": "8"}, ["f.size", "expected int", "'8'"]),
        ({"size": True}, ["f.size", "expected int"]),
        ({"size": 1.5}, ["f.size"]),
        ({"size": 1, "inner": {"kind": "c"}}, ["f.inner.kind", "'a' or 'b'"]),
        ({"size": 1, "inner": 3}, ["f.inner", "expected a mapping"]),
        ({"size": 1, "pair": [1.0]}, ["f.pair"]),
        ({"size": 0}, ["f: size must be at least 1"]),
        ({"size": 1, "limit": "many"}, ["f.limit", "expected int"]),
    ],
)
def test_a_mistake_is_named_with_its_place(mapping: dict[str, object], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        from_mapping(Outer, mapping, "f")
    for word in words:
        assert word in str(caught.value)
