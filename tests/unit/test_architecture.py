"""The arrows among the packages, and what propeller may know, read from the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from helpers.imports import circles, climbs, import_graph, imports_of, modules_of
from helpers.paths import ROOT
from helpers.source_scan import unsafe_reads

PACKAGES = ("reader", "propeller", "ernie_paddle")
FORBIDDEN = {
    "reader": {"paddle", "propeller", "ernie_paddle", "torch"},
    "propeller": {"reader", "ernie_paddle", "torch", "tokenizers", "sentencepiece", "jieba"},
    "ernie_paddle": {"torch"},
}
FLOORS = (
    "models",
    "objectives",
    "checkpoints",
    "generation",
    "pretraining",
    "finetune",
    "jobs",
    "benchmarks",
    "tables",
    "cli",
)
"""The sub-packages of ernie_paddle from the ground up: each may import from those before it, and from itself."""
LANGUAGE = re.compile(
    r"tokens?|tokeni[sz]\w*|sentences?|mask[-_ ]?lms?|mlms?|vocab\w*|subwords?|wordpiece\w*", re.IGNORECASE
)


def sources(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"no source under {package}"
    return found


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
        for line, name in imports_of(ast.parse(path.read_text(encoding="utf-8")))
        if name.split(".")[0] in FORBIDDEN[package]
    ]
    assert wrong == []


@pytest.fixture(scope="module")
def graph() -> dict[str, dict[str, int]]:
    """Who imports whom among all modules, wherever in a file the import stands."""
    return import_graph(modules_of(ROOT, PACKAGES))


def test_nothing_imports_in_a_circle(graph: Mapping[str, Mapping[str, int]]) -> None:
    assert len(graph) > 250
    assert circles(graph) == []


def test_the_floors_keep_their_order(graph: Mapping[str, Mapping[str, int]]) -> None:
    rooms = {path.name for path in (ROOT / "ernie_paddle").iterdir() if (path / "__init__.py").is_file()}
    assert rooms <= set(FLOORS), "a new sub-package needs its floor"
    assert climbs(graph, "ernie_paddle", FLOORS) == []


def test_planted_violations_are_found(tmp_path: Path) -> None:
    """A circle through a late import and a typing import, a way up through a name, and a forbidden package."""
    files = {
        "one/__init__.py": "",
        "one/a.py": "from one import b\n",
        "one/b.py": "def late():\n    from one.c import d\n",
        "one/c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from one.a import x\n",
        "one/low/__init__.py": "",
        "one/low/e.py": "import importlib\n\n\ndef f():\n    return importlib.import_module('one.high.g')\n",
        "one/high/__init__.py": "",
        "one/high/g.py": "import one.low.h\nimport paddle.nn\n",
        "one/low/h.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    modules = modules_of(tmp_path, ["one"])
    graph = import_graph(modules)
    assert circles(graph) == [["one.a", "one.b", "one.c"]]
    assert climbs(graph, "one", ("low", "high")) == ["one.low.e:5 imports one.high.g"]
    assert climbs(graph, "one", ("high", "low")) == ["one.high.g:1 imports one.low.h"]
    outside = imports_of(ast.parse(files["one/high/g.py"]))
    assert [name for _, name in outside if name.split(".")[0] in FORBIDDEN["reader"]] == ["paddle.nn"]


UNMATCHED = {
    "tests/unit/reader/test_imports.py": "all modules of the reader",
    "tests/unit/test_architecture.py": "all sources",
    "tests/unit/test_project_files.py": "files of the repository",
    "tests/unit/test_run_sh.py": "run.sh",
    "tests/unit/test_source_scan.py": "a helper of the tests",
}
"""Tests of no one module, and what they are about."""


def test_tests_lie_where_their_source_lies() -> None:
    """`tests/unit/a/b/test_c.py` and `tests/unit/a/b/test_c_d.py` are about `a/b/c.py` of a package."""
    roots = {"reader": ROOT, "propeller": ROOT, "bench": ROOT}
    lost = []
    for path in sorted((ROOT / "tests" / "unit").rglob("test_*.py")):
        parts = path.relative_to(ROOT / "tests" / "unit").parts
        base = roots.get(parts[0], ROOT / "ernie_paddle")
        folder = base.joinpath(*parts[:-1])
        subject = path.stem.removeprefix("test_")
        sources = [file.stem for file in folder.glob("*.py")] if folder.is_dir() else []
        named = any(subject == stem or subject.startswith(f"{stem}_") for stem in sources)
        if not named and str(path.relative_to(ROOT)) not in UNMATCHED:
            lost.append(str(path.relative_to(ROOT)))
    assert lost == []


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
    assert list(imports_of(tree)) == [(2, "paddle.nn"), (3, "reader.tokenizers.vocab")]
    named = ast.parse("'''About sentences.'''\nclass TokenCount:\n    n_tokens = mask_lm(vocab_size=1)\n")
    assert sorted(word.lower() for _, text in words_of(named) for word in language_words(text)) == [
        "mask lm",
        "sentences",
        "token",
        "tokens",
        "vocab",
    ]
    assert language_words("a stopping rule, unmasked") == []
