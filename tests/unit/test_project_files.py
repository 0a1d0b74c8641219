"""The files about the project itself: licence, changelog, guide for contributors, citation, and the one version."""

from __future__ import annotations

import hashlib
import re

import pytest
import yaml

import ernie_paddle
from helpers.paths import ROOT

# Of https://www.apache.org/licenses/LICENSE-2.0.txt
APACHE = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
PAPERS = {
    "1810.04805": ("BERT", "Devlin", 4),
    "1907.12412": ("ERNIE 2.0", "Sun", 7),
    "2010.01694": ("On Losses for Modern Language Models", "Aroca-Ouellette", 2),
    "2001.11314": ("ERNIE-GEN", "Xiao", 7),
    "2012.15674": ("ERNIE-M", "Ouyang", 7),
}
"""arXiv number: (how the title begins, family name of the first author, number of authors)."""


def test_the_licence_is_the_whole_apache_license() -> None:
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE


def test_the_version_stands_in_one_place() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r"^version = (.*)$", project, re.MULTILINE)[1] == '{ attr = "ernie_paddle.__version__" }'  # type: ignore[index]
    assert re.fullmatch(r"\d+\.\d+\.\d+([ab.]\w+)?", ernie_paddle.__version__)


def test_citation() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert cited["version"] == ernie_paddle.__version__
    assert cited["license"] == "Apache-2.0"
    found = {}
    for paper in cited["references"]:
        number = paper["url"].rpartition("/")[2]
        assert paper["identifiers"] == [{"type": "other", "value": f"arXiv:{number}"}]
        begins = PAPERS[number][0]
        assert paper["title"].startswith(begins)
        found[number] = (begins, paper["authors"][0]["family-names"], len(paper["authors"]))
    assert found == PAPERS


def test_changelog_has_the_form_of_keep_a_changelog() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# Changelog"
    headings = [line for line in lines if line.startswith("## ")]
    assert headings[0] == "## [Unreleased]"
    released = re.compile(r"## \[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d")
    assert all(released.fullmatch(line) for line in headings[1:])
    kinds = {line for line in lines if line.startswith("### ")}
    assert kinds <= {f"### {kind}" for kind in ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")}


@pytest.mark.parametrize("words", ["bash run.sh test", "ERNIE_TEST_DATA", "docs/extending.md", "120 characters"])
def test_guide_for_contributors(words: str) -> None:
    assert words in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_paths_in_the_guide_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"`((?:tests|ernie_paddle|[A-Z]+\.)[\w/.]*)`", text))
    assert {"tests/unit", "CITATION.cff", "ernie_paddle/__init__.py"} <= paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
