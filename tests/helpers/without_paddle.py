"""Processes that have everything installed but PaddlePaddle."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from helpers.paths import ROOT


def link_packages(folder: Path) -> Path:
    """Fill a folder with links to all installed packages but Paddle and this project, with what pip knows of them."""
    folder.mkdir()
    left_out = ("paddle", "ernie_paddle", "__editable__", "__pycache__")
    for place in map(Path, sys.path):
        if place.name not in ("site-packages", "dist-packages") or not place.is_dir():
            continue
        for entry in place.iterdir():
            link = folder / entry.name
            if not entry.name.startswith(left_out) and entry.suffix != ".pth" and not link.exists():
                link.symlink_to(entry)
    return folder


def run_without_paddle(
    packages: Path, *arguments: str | Path, cwd: Path, project: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments, which sees the packages of a folder and the project, and no others.

    Args:
        packages: what :func:`link_packages` filled.
        arguments: of the interpreter.
        cwd: working directory.
        project: folder from which the project is imported.
    """
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(project), str(packages)]), "OMP_NUM_THREADS": "1"}
    # With -S Python adds no folder of installed packages by itself.
    command = [sys.executable, "-S", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environ)
