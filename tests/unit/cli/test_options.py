"""`--help` of every verb: each option with type, default and meaning; names in either spelling."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys

import pytest

from ernie_paddle import option_kinds as kinds
from ernie_paddle.cli import options as opt
from ernie_paddle.cli.main import VERBS, build_parser, main, overview, with_underscores

TEXT_VERBS = ("vocab", "prepare")


def actions(verb: str) -> list[argparse.Action]:
    return [action for action in build_parser(verb)._actions if not isinstance(action, argparse._HelpAction)]


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_shows_type_default_and_meaning(verb: str) -> None:
    found = actions(verb)
    assert found, f"ernie {verb} has no options"
    for action in found:
        name = action.option_strings[0] if action.option_strings else action.dest
        assert action.help, name
        match = re.fullmatch(
            r"(.{8,}) \(([^;()]+(?:\([^()]*\)[^;()]*)?); (required|default: [^;]+)(; may be repeated)?\)", action.help
        )
        assert match, f"ernie {verb} {name}: {action.help!r}"
        default = match[3].removeprefix("default: ")
        if action.required or not action.option_strings:
            assert default == "required"
        elif isinstance(action.default, bool):
            assert default == ("yes" if action.default else "no")
        elif isinstance(action.default, (int, float, str)):
            assert default.replace("%%", "%") in (str(action.default), default if action.default == "" else "")


@pytest.mark.parametrize("verb", VERBS)
def test_help_prints_all_options_and_exits_0(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert f"usage: ernie {verb}" in printed
    for action in actions(verb):
        for name in action.option_strings:
            assert name in printed


def test_help_on_a_published_benchmark_needs_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["finetune", "--task", "CoLA", "--help"])
    assert stop.value.code == 0
    assert "usage: ernie finetune" in capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_options_are_written_with_underscores_and_found_with_dashes(verb: str) -> None:
    for action in actions(verb):
        for name in action.option_strings:
            assert "-" not in name.removeprefix("--"), name
            assert with_underscores(["--" + name[2:].replace("_", "-")]) == [name]


def test_dashes_in_values_stay() -> None:
    given = ["--text-a=my-col", "--out-dir", "a-b", "-x", "--", "--not-touched"]
    assert with_underscores(given) == ["--text_a=my-col", "--out_dir", "a-b", "-x", "--", "--not-touched"]


def test_without_a_verb_all_verbs_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert printed.strip() == overview()
    for verb, meaning in VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(meaning)}$", printed, re.MULTILINE)


@pytest.mark.parametrize("verb", TEXT_VERBS)
def test_text_verbs_do_not_load_paddle(verb: str) -> None:
    program = (
        "import sys; from ernie_paddle.cli.main import build_parser; "
        f"build_parser({verb!r}); import ernie_paddle.cli.{verb} as m; "
        "sys.exit('paddle' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_option_types() -> None:
    parser = opt.Parser(prog="ernie test")
    opt.option(parser, "--size", kinds.positive_int, 3, "number of things")
    opt.option(parser, "--share", kinds.fraction, 0.5, "share of things, 100% at most")
    opt.option(parser, "--names", kinds.comma_list, None, "names of things")
    opt.option(parser, "--more", str, None, "further things", repeat=True)
    opt.flag(parser, "--fast", True, "hurry with the things")
    args = parser.parse_args(["--names", "a, b,,c", "--no_fast", "--more", "x", "--more", "y"])
    assert vars(args) == {"size": 3, "share": 0.5, "names": ["a", "b", "c"], "more": ["x", "y"], "fast": False}
    assert "100% at most" in parser.format_help()
    for wrong in (["--size", "0"], ["--size", "1.5"], ["--share", "1"], ["--share", "nan"], ["--other", "1"]):
        with pytest.raises(SystemExit) as stop:
            parser.parse_args(wrong)
        assert stop.value.code == 2
