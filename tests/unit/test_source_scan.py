"""The scan for what can run foreign code finds each kind of it, and nothing where there is none."""

from __future__ import annotations

import ast

import pytest

from helpers.source_scan import PICKLES, unsafe_reads


def found(source: str) -> list[str]:
    return [finding.what for finding in unsafe_reads(ast.parse(source))]


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import pickle\npickle.loads(b)", "pickle.loads"),
        ("import pickle\npickle.load(f)", "pickle.load"),
        ("import pickle\npickle.Unpickler(f).load()", "pickle.Unpickler"),
        ("import pickle as p\np.loads(b)", "pickle.loads"),
        ("def f():\n    import pickle as p\n    return p.loads(b)", "pickle.loads"),
        ("from pickle import loads", "pickle.loads"),
        ("from pickle import loads as read\nread(b)", "pickle.loads"),
        ("from pickle import Unpickler", "pickle.Unpickler"),
        ("from pickle import *", "pickle.*"),
        ("import pickle\nread = pickle.loads", "pickle.loads"),
        ("import pickle\np = pickle\np.loads(b)", "pickle.loads"),
        ("import pickle\nmap(pickle.loads, parts)", "pickle.loads"),
        ("import pickle\ngetattr(pickle, 'loads')(b)", "pickle.loads"),
        ("import pickle\ngetattr(pickle, 'lo' + 'ads')(b)", "some attribute of pickle"),
        ("import pickle\nvars(pickle)['loads'](b)", "some attribute of pickle"),
        ("import pickle\npickle.__dict__['loads'](b)", "pickle.__dict__"),
        ("__import__('pickle')", "import of pickle by name"),
        ("__import__('pickle').loads(b)", "pickle.loads"),
        ("import importlib\nimportlib.import_module('pickle').loads(b)", "pickle.loads"),
        ("from importlib import import_module\np = import_module(name='dill')", "import of dill by name"),
        ("import sys\nsys.modules['pickle'].loads(b)", "pickle.loads"),
        ("import _pickle\n_pickle.loads(b)", "_pickle.loads"),
        ("import marshal\nmarshal.loads(b)", "marshal.loads"),
        ("import dill\ndill.load(f)", "dill.load"),
        ("import cloudpickle\ncloudpickle.loads(b)", "cloudpickle.loads"),
        ("import joblib\njoblib.load(f)", "joblib.load"),
        ("import shelve\nshelve.open(f)", "shelve.open"),
        ("import pandas as pd\npd.read_pickle(f)", "pandas.read_pickle"),
        ("from pandas import read_pickle", "pandas.read_pickle"),
        ("import torch\ntorch.load(f)", "torch.load"),
        ("from torch import load", "torch.load"),
        ("import paddle\npaddle.load(f)", "paddle.load"),
        ("import paddle.nn\npaddle.load(f)", "paddle.load"),
        (
            "from multiprocessing.reduction import ForkingPickler as F\nF.loads(b)",
            "multiprocessing.reduction.ForkingPickler.loads",
        ),
        ("import numpy as np\nnp.load(f, allow_pickle=True)", "load with allow_pickle"),
        ("import numpy as np\nnp.load(f, None, True)", "load with allow_pickle"),
        ("import numpy as np\nnp.load(f, allow_pickle=whether)", "load with allow_pickle"),
        ("import numpy as np\nnp.load(f, **settings)", "load with allow_pickle"),
        ("import numpy as np\nnp.load(*arguments)", "load with allow_pickle"),
        ("from numpy import load\nload(f, 'r', 1)", "load with allow_pickle"),
        ("from numpy.lib import format\nformat.read_array(f, True)", "read_array with allow_pickle"),
        ("anything(f, allow_pickle=True)", "anything with allow_pickle"),
        ("import yaml\nyaml.load(f)", "yaml.load without SafeLoader"),
        ("import yaml\nyaml.load(f, yaml.Loader)", "yaml.load without SafeLoader"),
        ("import yaml\nyaml.load(f, Loader=yaml.FullLoader)", "yaml.load without SafeLoader"),
        ("from yaml import load\nload(f)", "yaml.load without SafeLoader"),
        ("import yaml\nyaml.load_all(f)", "yaml.load_all without SafeLoader"),
        ("import yaml\nyaml.unsafe_load(f)", "yaml.unsafe_load"),
        ("import yaml\nyaml.full_load(f)", "yaml.full_load"),
        ("eval(text)", "builtins.eval"),
        ("exec(text)", "builtins.exec"),
        ("run = exec\nrun(text)", "builtins.exec"),
        ("import builtins\nbuiltins.eval(text)", "builtins.eval"),
        ("from builtins import exec as run", "builtins.exec"),
    ],
)
def test_each_kind_is_found(source: str, what: str) -> None:
    assert what in found(source)


@pytest.mark.parametrize("module", PICKLES)
def test_every_module_of_pickles_is_watched(module: str) -> None:
    assert f"{module}.load" in found(f"import {module}\n{module}.load(f)")


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.dump(value, f)\npickle.dumps(value)\npickle.PicklingError",
        "import json\njson.load(f)\njson.loads(b)",
        "import numpy as np\nnp.load(f)\nnp.load(f, 'r', False)\nnp.load(f, allow_pickle=False)",
        "import yaml\nyaml.safe_load(f)\nyaml.load(f, Loader=yaml.SafeLoader)\nyaml.load(f, yaml.CSafeLoader)",
        "import paddle\npaddle.save(value, f)\nmodel.eval()\nself.loads(b)",
        "import importlib\nimportlib.import_module('json')\nimportlib.import_module(name)\n__import__('json')",
        "getattr(pickle, name)",
        "import paddle\ngetattr(paddle, name)",
        "from .pickle import loads",
        "'pickle.loads(b)'  # eval(text)",
    ],
)
def test_nothing_is_found_where_there_is_nothing(source: str) -> None:
    assert found(source) == []


def test_a_finding_tells_where_it_is() -> None:
    source = "import pickle\nclass A:\n    def read(self, b):\n        return pickle.loads(b)\neval('1')\n"
    places = [(finding.line, finding.within, finding.what) for finding in unsafe_reads(ast.parse(source))]
    assert places == [(4, "A.read", "pickle.loads"), (5, "", "builtins.eval")]


CHECKED = """
import pickle

class Reader(pickle.Unpickler):
    def find_class(self, module, name):
        raise ValueError

    def persistent_load(self, identity):
        raise ValueError
"""


def test_an_unpickler_with_rules_of_its_own_is_told_from_a_plain_one() -> None:
    assert found(CHECKED) == ["subclass of pickle.Unpickler with its own find_class"]
    for method in ("find_class", "persistent_load"):
        assert found(CHECKED.replace(method, "other")) == ["pickle.Unpickler"]
    assert "pickle.Unpickler" in found(CHECKED + "\npickle.Unpickler(f).load()\n")
    assert "pickle.loads" in found(CHECKED.replace("raise ValueError", "return pickle.loads(name)"))
