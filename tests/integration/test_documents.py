"""The documents fit together and the program: links, names of files, verbs, options, the annotated tree, lengths."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from ernie_paddle.benchmarks.suite import suite_names
from ernie_paddle.cli.list import LISTS
from ernie_paddle.cli.main import VERBS, build_parser
from ernie_paddle.finetune.task_type import TASK_TYPES
from helpers.documents import NAMES, anchors, blocks, code_words, links, prose, section, text_of
from helpers.paths import ROOT

RUN_SH = {"tables": "tables", "quickstart": "quickstart", "doctor": "doctor"}
"""Commands of run.sh that are verbs of the same options, beside the suites."""
OWN = {"install", "test", "bench"}
"""Its other commands."""
OF_PADDLE = {"--nnodes", "--master", "--host"}
"""Options of paddle.distributed.launch, which `ernie launch` hands on."""
PLACEHOLDERS = re.compile(r"^[A-Z]+$|…")
NOT_THE_FIELDS_WORDS = re.compile(r"\b(?:go(?:es)? on|take[ns]? up|looks? at no|without looking|wrong key)\b")


def test_the_readme_is_short() -> None:
    assert len(text_of("README.md").splitlines()) <= 170


@pytest.mark.parametrize("name", NAMES)
def test_lines_of_prose_are_short(name: str) -> None:
    assert [number for number, line in prose(name) if len(line) > 120] == []


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    wrong = []
    for link, path, anchor in links(name):
        if not path.exists() or (anchor and anchor not in anchors(str(path.relative_to(ROOT)))):
            wrong.append(link)
    assert wrong == []


@pytest.mark.parametrize("name", NAMES)
def test_the_words_of_the_field(name: str) -> None:
    assert [line for _, line in prose(name) if NOT_THE_FIELDS_WORDS.search(line)] == []


def test_every_document_is_linked_from_the_readme() -> None:
    linked = {path for _, path, _ in links("README.md")}
    assert [name for name in NAMES if name != "README.md" and ROOT / name not in linked] == []


# -------------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_named_exist(name: str) -> None:
    named = re.compile(r"(?<![\w/.…])(?:ernie_paddle|propeller|reader|configs|tests|bench|docs)/[\w/.]*\w")
    made_by_examples = set(re.findall(r"^# (?:in \w+ of )?([\w/]+\.\w+)$", text_of(name), re.MULTILINE))
    found = {path for code in code_words(text_of(name)) for path in named.findall(code)}
    missing = [path for path in sorted(found - made_by_examples) if not (ROOT / path).exists() and "NAME" not in path]
    assert missing == []


def tree() -> dict[str, str]:
    """Path of everything in the annotated tree, and what is said of it."""
    (block,) = (block for block in blocks(section("README.md", "The source"), "text") if "──" in block)
    found: dict[str, str] = {}
    above: list[str] = []
    for line in block.splitlines():
        branches, names = re.fullmatch(r"((?:│   |    )*(?:[├└]── )?)(.*)", line).groups()  # type: ignore[union-attr]
        level = len(branches) // 4
        words = names.split("  ")
        paths = []
        while words and re.fullmatch(r"\w+/|\w+\.py", words[0]):
            paths.append("".join(above[:level]) + words.pop(0))
        assert paths, f"no name in {line!r}"
        above = [*above[:level], paths[0].removeprefix("".join(above[:level]))]
        found.update(dict.fromkeys(paths, " ".join(words).strip()))
    return found


def test_what_the_tree_names_exists() -> None:
    found = tree()
    missing = [path for path in found if not (ROOT / path).exists()]
    for path, said in found.items():
        inside = re.findall(r"(?<![\w/])(\w+\.py|\w+/)(?=[\s,:;]|$)", said)
        missing += [path + name for name in inside if path.endswith("/") and not (ROOT / path / name).exists()
                    and not (ROOT / path).parent.joinpath(name).exists()]  # fmt: skip
    assert missing == []


def test_every_folder_of_the_source_is_in_the_tree() -> None:
    packages = {path.parent for top in ("ernie_paddle", "propeller", "reader") for path in (ROOT / top).rglob("*.py")}
    configs = {path.parent for path in (ROOT / "configs").rglob("*.yaml")}
    wanted = {f"{path.relative_to(ROOT)}/" for path in packages | configs} | {"bench/", "tests/"}
    assert sorted(wanted - set(tree())) == []
    assert [path for path, said in tree().items() if not said] == []


# ------------------------------------------------------------------------------------------------- verbs and options


@cache
def options_of(verb: str, type: str = "classification") -> frozenset[str]:
    """The options of a verb; both forms of a flag."""
    words = ("--type", type) if verb == "finetune" else ()
    return frozenset(build_parser(verb, words)._option_string_actions)


def all_options() -> set[str]:
    """The options of all verbs and task types, of Paddle's launcher, and of the benchmarks of speed."""
    found = {option for verb in VERBS for option in options_of(verb)} | OF_PADDLE
    found |= {option for type in TASK_TYPES for option in options_of("finetune", type)}
    return found | bench_options()


def bench_options() -> set[str]:
    """The options that the programs in bench/ declare."""
    text = "".join(path.read_text() for path in (ROOT / "bench").glob("*.py"))
    return set(re.findall(r"\"(--\w+)\"", text))


def calls(name: str) -> Iterator[tuple[str, list[str], str]]:
    """(verb, its words, code) of each command of a document, those of run.sh as the verb that they stand for."""
    for code in code_words(text_of(name)):
        for part in re.split(r" \| |; | && ", code):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:
                continue
            while words and re.fullmatch(r"\w+=.*", words[0], re.DOTALL):
                words.pop(0)
            if words[:2] == ["bash", "run.sh"] and len(words) > 2 and not PLACEHOLDERS.search(words[2]):
                command = words[2].partition("|")[0]
                yield (RUN_SH.get(command, command if command in OWN else "benchmarks")), words[2:], code
            elif words[:1] in (["ernie"], ["fleetrun"]) and len(words) > 1 and not PLACEHOLDERS.search(words[1]):
                yield ("launch", words, code) if words[0] == "fleetrun" else (words[1], words[1:], code)


@pytest.mark.parametrize("name", NAMES)
def test_verbs_and_options_of_commands_exist(name: str) -> None:
    wrong = []
    for verb, words, code in calls(name):
        if verb.startswith("--"):
            continue
        if verb not in VERBS and verb not in OWN:
            wrong.append((verb, code))
            continue
        if code.startswith("bash run.sh") and verb == "benchmarks" and words[0] not in suite_names():
            wrong.append((words[0], code))
        if verb == "list" and words[1:] and words[1] not in LISTS:
            wrong.append((words[1], code))
        type = words[words.index("--type") + 1] if "--type" in words[:-1] else "classification"
        if verb == "finetune" and not PLACEHOLDERS.search(type) and type not in TASK_TYPES and type != "X":
            wrong.append((type, code))
        known = {"bench": bench_options, "install": set, "test": set}.get(
            verb, lambda verb=verb, type=type: options_of(verb, type if type in TASK_TYPES else "classification")
        )()
        if verb == "launch":  # options of the script follow
            known = known | OF_PADDLE | options_of("pretrain")
        wrong += [(word, code) for word in words if re.match(r"--\w", word) and word.partition("=")[0] not in known]
    assert wrong == []


@pytest.mark.parametrize("name", NAMES)
def test_options_that_are_named_alone_exist(name: str) -> None:
    known = all_options() | {"--help", "--version"}
    text = text_of(name)
    assert [
        word for code in code_words(text) for word in re.findall(r"(?<![\w-])--\w+", code) if word not in known
    ] == []


def test_the_checks_find_what_they_look_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import helpers.documents as documents

    monkeypatch.setattr(documents, "ROOT", tmp_path)
    text = "# One\n\n## `two` (2)\n\nSee [x](b.md#no), `ernie prepair`, `ernie vocab --sizes 3`.\n\n"
    text += "```sh\nernie lst\n```\n"
    (tmp_path / "a.md").write_text(text)
    assert documents.anchors("a.md") == {"one", "two-2"}
    assert [(link, anchor) for link, _, anchor in documents.links("a.md")] == [("b.md#no", "no")]
    assert list(documents.code_words(text)) == ["two", "ernie prepair", "ernie vocab --sizes 3", "ernie lst"]
    assert documents.commands("```bash\ncat > f <<'END'\na\nEND\nb \\\n  c\n```\n") == [
        "cat > f <<'END'\na\nEND",
        "b \\\n  c",
    ]


def test_the_glossary_gives_each_term_one_meaning() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", text_of("docs/glossary.md"), re.MULTILINE)
    terms = [term for cell, _ in rows if cell != "term" for term in cell.split(", ")]
    assert {"task", "task type", "objective", "recipe", "schedule", "stage", "row", "sample", "corpus"} <= set(terms)
    assert sorted({term for term in terms if terms.count(term) > 1}) == []
