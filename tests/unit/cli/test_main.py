"""Exit codes: mistakes are one line and 2, Ctrl-C is one line and 130, bugs keep their traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from ernie_paddle.cli import main as cli
from propeller.errors import UserError
from reader.errors import DataError


def fake(monkeypatch: pytest.MonkeyPatch, error: BaseException | None) -> None:
    def run(args: object) -> int:
        if error is not None:
            raise error
        return 0

    monkeypatch.setattr(
        cli, "load_verb", lambda verb: SimpleNamespace(__doc__="x", add_arguments=lambda p: None, run=run)
    )


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DataError("a.tsv:3: bad\nrow"), 2, "ernie prepare: a.tsv:3: bad row"),
        (UserError("key x is unknown"), 2, "ernie prepare: key x is unknown"),
        (
            FileNotFoundError(2, "No such file or directory", "x.txt"),
            2,
            "ernie prepare: x.txt: No such file or directory",
        ),
        (PermissionError(13, "Permission denied", "/y"), 2, "ernie prepare: /y: Permission denied"),
        (FileExistsError(17, "File exists", "out"), 2, "ernie prepare: out: File exists"),
        (OSError(28, "No space left on device"), 2, "ernie prepare: No space left on device"),
        (KeyboardInterrupt(), 130, "ernie prepare: interrupted"),
    ],
)
def test_mistakes_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    fake(monkeypatch, error)
    assert cli.main(["prepare"]) == code
    captured = capsys.readouterr()
    assert captured.err == line + "\n"
    assert captured.out == ""


def test_bugs_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        cli.main(["prepare"])
    fake(monkeypatch, ModuleNotFoundError("No module named 'scipy'", name="scipy"))
    with pytest.raises(ModuleNotFoundError):
        cli.main(["prepare"])
    fake(monkeypatch, ValueError("a bug that is no UserError"))
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["prepare"])


def test_unknown_verbs_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fintune"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SystemExit) as stop:
        cli.main(["predict", "--modle", "x"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def run_cli(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ernie_paddle.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "--model", "{tmp}/absent"], "absent: no such directory"),
        (["predict", "--model", "{tmp}"], "no model in it"),
        (["evaluate", "--model", "{tmp}/absent", "--data", "x.tsv"], "absent: no such directory"),
        (["finetune", "--train", "a", "--dev", "b", "--text_a", "t", "--output", "{tmp}/o"], "--vocab is needed"),
        (["vocab", "{tmp}/absent.txt", "--output", "{tmp}/v"], "absent.txt"),
        (["prepare", "{tmp}/absent.txt", "--vocab", "{tmp}/v.txt", "--output", "{tmp}/c"], "v.txt"),
        (["inspect", "{tmp}/absent"], "absent"),
        (["export", "--model", "{tmp}/absent", "--output", "{tmp}/e"], "absent: no such directory"),
    ],
)
def test_mistakes_at_a_real_command_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run_cli(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.startswith(f"ernie {arguments[0]}: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["inspect", "--help"]])
def test_a_closed_pipe_is_quiet(arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "ernie_paddle.cli.main", *arguments],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepar", "x"], "ernie: there is no verb 'prepar'; did you mean 'prepare'?"),
        (["predict", "--modle", "x"], "ernie predict: there is no option --modle; did you mean --model?"),
        (["prepare", "--over-write"], "ernie prepare: there is no option --over_write; did you mean --overwrite?"),
        (["predict", "-model", "x"], "ernie predict: there is no option -model; did you mean --model?"),
        (["predict", "--qqq=1"], "ernie predict: there is no option --qqq (see"),
        (["predict"], "ernie predict: the following arguments are required: --model"),
    ],
)
def test_misspelt_names_come_first(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    try:
        code: object = cli.main(arguments)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert capsys.readouterr().err.startswith(message)


def test_an_interrupt_while_modules_load_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(verb: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "load_verb", load)
    assert cli.main(["prepare"]) == 130
    assert capsys.readouterr().err == "ernie prepare: interrupted\n"
    code = "import sys, ernie_paddle.cli.main; print({'reader', 'propeller', 'argparse', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_sigterm_in_prepare_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from ernie_paddle.cli import prepare

    def killed(*arguments: object, **options: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(prepare, "prepare", killed)
    assert cli.main(["prepare", "x.txt", "--vocab", "v", "--output", "o"]) == 143
    assert capsys.readouterr().err == "ernie prepare: interrupted; run the same command again to resume\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_progress_of_prepare() -> None:
    from ernie_paddle.cli.prepare import progress_text
    from reader.prepare.job import Progress

    assert progress_text(Progress("tokens", 2_082_540, 2_100_000, "bytes")) == "tokenising: 2.1 of about 2.1 MB"
    assert progress_text(Progress("shards", 1, 3, "shards")) == "writing shards: 1 of 3 shards"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The installed metadata, which pip made from the same source when it installed the project, say the same."""
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"ernie {metadata.version('ernie-paddle')}\n"
