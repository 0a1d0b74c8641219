"""The doctor: which wheel a machine needs, and what it says of installations that cannot work."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.paths import ROOT
from propeller.device import runtime
from propeller.errors import UserError
from propeller.tools import doctor, wheels

SMI = """\
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 550.90.07              Driver Version: 550.90.07      CUDA Version: 12.4     |
|-----------------------------------------+------------------------+----------------------+
"""


@pytest.mark.parametrize(
    ("version", "tag"),
    [
        ("13.1", "cu130"),
        ("13.0", "cu130"),
        ("12.9", "cu129"),
        ("12.8", "cu126"),
        ("12.6.1", "cu126"),
        ("12.4", "cu126"),
        ("12.2", "cu118"),
        ("11.8", "cu118"),
        ("11.0", "cu118"),
        ("12", "cu118"),
    ],
)
def test_index_of_a_cuda_version(version: str, tag: str) -> None:
    assert doctor.gpu_index_url(version) == f"https://www.paddlepaddle.org.cn/packages/stable/{tag}/"


@pytest.mark.parametrize("version", ["10.2", "9", "", "twelve", "12.x"])
def test_no_index(version: str) -> None:
    with pytest.raises(UserError, match="CUDA version"):
        doctor.gpu_index_url(version)


def fake_smi(monkeypatch: pytest.MonkeyPatch, text: str = SMI, cards: str = "NVIDIA A100, 40960 MiB, 8.0\n") -> None:
    monkeypatch.setattr(wheels, "_nvidia_smi", lambda *arguments: cards if arguments else text)


def test_driver_and_cards_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_smi(monkeypatch)
    assert wheels.driver_cuda_version() == "12.4"
    assert wheels.gpus() == [wheels.Gpu("NVIDIA A100", "40960 MiB", "8.0")]
    fake_smi(monkeypatch, "NVIDIA-SMI has failed\n", "")
    assert wheels.driver_cuda_version() is None
    assert wheels.gpus() == []


@pytest.mark.parametrize(
    ("installed", "gpu", "usable", "says"),
    [
        (
            {"paddlepaddle-gpu": "2.6.2"},
            True,
            False,
            "paddlepaddle-gpu 2.6.2 is too old (the default package index has only this old GPU build, whose static "
            'graphs have no PIR); install 3.3: `python -m pip install "paddlepaddle-gpu>=3.3,<3.4" '
            "-i https://www.paddlepaddle.org.cn/packages/stable/cu126/`",
        ),
        ({"paddlepaddle": "3.2.2"}, False, False, "paddlepaddle 3.2.2 is too old"),
        ({"paddlepaddle": "3.3.1", "paddlepaddle-gpu": "3.3.1"}, True, False, "both wheels"),
        ({"paddlepaddle": "3.3.1"}, True, True, "there is a GPU, but the CPU build of PaddlePaddle is installed"),
        ({"paddlepaddle": "3.4.0"}, False, True, "newer than what was tested"),
    ],
)
def test_wheels_that_do_not_fit(
    monkeypatch: pytest.MonkeyPatch, installed: dict[str, str], gpu: bool, usable: bool, says: str
) -> None:
    if gpu:
        fake_smi(monkeypatch)
    else:
        fake_smi(monkeypatch, "", "")
    monkeypatch.setattr(runtime, "installed_wheels", lambda: installed)
    monkeypatch.setattr(doctor, "_paddle", lambda found, communication: None)
    found = doctor.report()
    assert found.usable is usable
    assert any(says in change for change in found.changes), found.changes


def test_report_of_this_installation(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert doctor.main([]) == 0
    text = capsys.readouterr().out
    for words in ("PIR", "on\n", "gloo (CPU workers)", "mallopt", "cores", "/dev/shm", "visualdl", "what to change"):
        assert words in text
    total, available = doctor.memory()
    assert 0 < available <= total


def test_every_heading_comes_once() -> None:
    found = doctor.Report()
    for section in ("PaddlePaddle", "settings", "PaddlePaddle"):
        found.add(section, "name", len(found.rows))
    assert str(found).splitlines()[:6] == ["PaddlePaddle", "  name  0", "  name  2", "", "settings", "  name  1"]


def test_the_other_fleetrun_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "fleetrun"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    for text, says in [
        ("from propeller.tools.fleetrun import main\n", None),
        ("from paddle.distributed.launch.main import launch\n", f"{program} is not propeller's"),
        (None, "there is no `fleetrun`"),
    ]:
        program.unlink(missing_ok=True)
        if text is not None:
            program.write_text(text)
            program.chmod(0o755)
        found = doctor.Report()
        doctor._fleetrun(found)
        if says is None:
            assert found.changes == []
        else:
            assert found.usable
            assert found.changes[0].startswith(says)
            line = f"{tmp_path / 'python'} -m pip install --force-reinstall --no-deps -e {shlex.quote(str(ROOT))}`"
            assert line in found.changes[0]
            assert "`ernie launch`" in found.changes[0]


def test_wheel_and_index_without_paddle() -> None:
    """run.sh asks for these before anything is installed."""
    code = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in sys.stdlib_module_names and not name.startswith("propeller"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nothing())
import os
os.environ["PADDLE_CUDA"] = "12.6"
from propeller.tools import doctor
sys.exit(doctor.main(["--wheel"]) or doctor.main(["--paddle_index"]))
"""
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    url = "https://www.paddlepaddle.org.cn/packages/stable/cu126/"
    assert done.stdout.splitlines() == [f'python -m pip install "paddlepaddle-gpu>=3.3,<3.4" -i {url}', url]


def test_unknown_cuda_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fake_smi(monkeypatch, "", "")
    monkeypatch.delenv("PADDLE_CUDA", raising=False)
    assert doctor.main(["--paddle_index"]) == 2
    assert "set PADDLE_CUDA" in capsys.readouterr().err
    assert doctor.main(["--wheel"]) == 0
    assert capsys.readouterr().out == 'python -m pip install "paddlepaddle>=3.3,<3.4"\n'


@pytest.mark.parametrize(
    ("text", "cuda", "package"),
    [
        ("", None, "paddlepaddle"),
        (SMI, None, "paddlepaddle-gpu"),
        ("", "12.6", "paddlepaddle-gpu"),
        (SMI.replace("12.4", "10.2"), None, "paddlepaddle"),  # a driver too old for every GPU build
    ],
)
def test_advice_where_paddle_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, cuda: str | None, package: str
) -> None:
    fake_smi(monkeypatch, text)
    monkeypatch.delenv("PADDLE_CUDA", raising=False)
    if cuda is not None:
        monkeypatch.setenv("PADDLE_CUDA", cuda)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", "")
    missing = ModuleNotFoundError("No module named 'paddle'", name="paddle")
    begins = f"PaddlePaddle is not installed; install it with `{tmp_path / 'python'} -m pip install"
    assert str(wheels.missing_paddle(missing)).startswith(f'{begins} "{package}>=3.3,<3.4"')
    (tmp_path / "python").write_text("#!/bin/sh\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert f'`python -m pip install "{package}>=' in str(wheels.missing_paddle(missing))


def test_other_missing_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older PaddlePaddle may lack a module; what does not belong to it is nothing that its wheel would mend."""
    fake_smi(monkeypatch, "", "")
    part = ModuleNotFoundError("No module named 'paddle.pir'", name="paddle.pir")
    assert str(wheels.missing_paddle(part)).startswith("the installed PaddlePaddle has no module paddle.pir; install ")
    for name in ("paddlenlp", "numpy", None):
        assert wheels.missing_paddle(ModuleNotFoundError("x", name=name)) is None
