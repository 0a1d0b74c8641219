"""What the documents say: their commands, examples, headings and links, for the tests that try them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from helpers.paths import ROOT

NAMES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *(f"docs/{path.name}" for path in sorted(ROOT.glob("docs/*.md"))),
)
"""All documents, as paths from the root of the project."""
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")


def text_of(name: str) -> str:
    """The whole document."""
    return (ROOT / name).read_text(encoding="utf-8")


def section(name: str, title: str) -> str:
    """What stands below a heading, up to the next one of the same or a higher level."""
    text = text_of(name)
    head = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    assert head, f"{name} has no heading {title!r}"
    rest = text[head.end() :]
    end = re.search(rf"^#{{1,{len(head[1])}}} ", _without_blocks(rest), re.MULTILINE)
    return rest[: end.start()] if end else rest


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a language."""
    return [body for _, found, body in _BLOCK.findall(text) if found == language]


def commands(text: str) -> list[str]:
    """The commands of the bash blocks: lines, joined where a backslash ends one, and here-documents as a whole."""
    found: list[str] = []
    end = ""  # of the here-document that is open
    for block in blocks(text, "bash"):
        for line in block.splitlines():
            if end or (found and found[-1].endswith("\\")):
                found[-1] += "\n" + line
                end = "" if line == end else end
            elif line.strip():
                found.append(line)
                start = re.search(r"<<'(\w+)'", line)
                end = start[1] if start else ""
    return found


def example_files(name: str) -> dict[str, str]:
    """The examples of a document that are whole files, by the path that their first line names."""
    found = {}
    for language in ("python", "yaml"):
        for block in blocks(text_of(name), language):
            head = re.match(r"# ([\w/]+\.(?:py|yaml))\n", block)
            if head:
                found[head[1]] = block
    return found


def prose(name: str) -> Iterator[tuple[int, str]]:
    """(number, text) of the lines that are neither code nor rows of a table."""
    for number, line in enumerate(_without_blocks(text_of(name)).splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("|"):
            yield number, line


def code_words(text: str) -> Iterator[str]:
    """All code of a document that may be a command: what stands between single backquotes, and commands of blocks."""
    yield from (code.replace("\n", " ") for code in _CODE.findall(_without_blocks(text)))
    for language in ("bash", "sh"):
        for block in blocks(text, language):
            yield from block.replace("\\\n", " ").splitlines()
    for block in blocks(text, "text"):
        yield from (line[2:] for line in block.splitlines() if line.startswith("$ "))


def anchors(name: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", _without_blocks(text_of(name)), re.MULTILINE):
        plain = unicodedata.normalize("NFC", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)).lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = 1
        while anchor in found:
            anchor = f"{anchor}-{number}"
            number += 1
        found.add(anchor)
    return found


def links(name: str) -> Iterator[tuple[str, Path, str]]:
    """(link, file, anchor) of the links that lead to files of the project."""
    for link in re.findall(r"\]\(([^)\s]+)\)", _without_blocks(text_of(name))):
        if not link.startswith(("http://", "https://")):
            path, _, anchor = link.partition("#")
            yield link, ((ROOT / name).parent / path if path else ROOT / name).resolve(), anchor


def _without_blocks(text: str) -> str:
    """The text with spaces in place of its code blocks: lines and places stay."""
    return _BLOCK.sub(lambda block: re.sub(r"[^\n]", " ", block[0]), text)
