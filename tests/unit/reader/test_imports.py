"""The reader stands alone: none of its modules loads Paddle or the packages above it."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import reader
from helpers.paths import ROOT

CODE = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(sorted({name.split(".")[0] for name in sys.modules} & {"paddle", "propeller", "ernie_paddle", "torch", "jieba"}))
"""


def test_no_module_of_the_reader_loads_paddle() -> None:
    names = [module.name for module in pkgutil.walk_packages(reader.__path__, "reader.")]
    assert len(names) > 15
    answer = subprocess.run(
        [sys.executable, "-c", CODE, *names],
        check=True, capture_output=True, text=True, cwd=ROOT, timeout=120,
    )  # fmt: skip
    assert answer.stdout.strip() == "[]"
