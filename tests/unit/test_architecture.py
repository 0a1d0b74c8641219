"""The arrows among the packages, and what propeller may know, read from the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.paths import ROOT
from helpers.source_scan import unsafe_reads

PACKAGES = ("reader", "propeller", "ernie_paddle")
FORBIDDEN = {
    "reader": {"paddle", "propeller", "ernie_paddle", "torch"},
    "propeller": {"reader", "ernie_paddle", "torch", "tokenizers", "sentencepiece", "jieba"},
    "ernie_paddle": {"torch"},
}
LANGUAGE = re.compile(
    r"tokens?|tokeni[sz]\w*|sentences?|mask[-_ ]?lms?|mlms?|vocab\w*|subwords?|wordpiece\w*", re.IGNORECASE
)


def sources(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"no source under {package}"
    return found


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, top package) of every import, wherever it stands, and of imports by name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.split(".")[0]
        elif isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            argument = node.args[0]
            if name in ("import_module", "__import__") and isinstance(argument, ast.Constant):
                yield node.lineno, str(argument.value).split(".")[0]


def words_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, text) of every name that the file makes or uses, and of every docstring."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 1)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield line, node.name
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)):
            yield line, ast.get_docstring(node) or ""
        if isinstance(node, ast.Name):
            yield line, node.id
        elif isinstance(node, ast.Attribute):
            yield line, node.attr
        elif isinstance(node, ast.arg) or (isinstance(node, ast.keyword) and node.arg):
            yield line, node.arg


def language_words(text: str) -> list[str]:
    """Words about language in a text or an identifier; identifiers are taken apart at underscores and capitals."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).replace("_", " ")
    return re.findall(rf"(?i)\b(?:{LANGUAGE.pattern})\b", apart)


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_go_one_way(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(package)
        for line, name in imports(ast.parse(path.read_text(encoding="utf-8")))
        if name in FORBIDDEN[package]
    ]
    assert wrong == []


def test_propeller_knows_no_language() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {', '.join(found)}"
        for path in sources("propeller")
        for line, text in words_of(ast.parse(path.read_text(encoding="utf-8")))
        if (found := language_words(text))
    ]
    assert wrong == []


MAY_UNPICKLE = {
    # Messages between its own processes, never a file: the job that the parent sent, and a message that was just made.
    ("reader/workers/prefetch.py", "_prepare", "pickle.loads"),
    ("reader/workers/prefetch.py", "_failure", "pickle.loads"),
    # Released weights: it refuses all but tensors.
    (
        "ernie_paddle/checkpoints/restricted_pickle.py",
        "_Reader",
        "subclass of pickle.Unpickler with its own find_class",
    ),
}
"""(file, function or class, what) of everything in the program that reads a pickle."""


def test_nothing_unpickles_or_evaluates() -> None:
    launched = sorted(ROOT.glob("*.py"))
    assert {"pretrain.py", "finetune.py", "export.py"} <= {path.name for path in launched}
    found = {
        (str(path.relative_to(ROOT)), finding.within, finding.what): finding.line
        for path in [*(path for folder in (*PACKAGES, "bench") for path in sources(folder)), *launched]
        for finding in unsafe_reads(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert {place: line for place, line in found.items() if place not in MAY_UNPICKLE} == {}
    assert set(found) == MAY_UNPICKLE, "an exception is not needed any more"


def test_the_checks_themselves_find_what_they_look_for() -> None:
    tree = ast.parse("def f():\n    import paddle.nn\n    importlib.import_module('reader.tokenizers.vocab')\n")
    assert list(imports(tree)) == [(2, "paddle"), (3, "reader")]
    named = ast.parse("'''About sentences.'''\nclass TokenCount:\n    n_tokens = mask_lm(vocab_size=1)\n")
    assert sorted(word.lower() for _, text in words_of(named) for word in language_words(text)) == [
        "mask lm",
        "sentences",
        "token",
        "tokens",
        "vocab",
    ]
    assert language_words("a stopping rule, unmasked") == []
