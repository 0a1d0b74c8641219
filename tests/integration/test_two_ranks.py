"""Data parallelism: two real processes against one that has the whole batch."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from helpers.paths import ROOT, environment

WORKER = ROOT / "tests" / "helpers" / "two_ranks_worker.py"
TOLERANCE = 1e-5
"""Largest difference of losses and norms over 20 steps: sums of float32 in another order."""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Reports of rank 0 and 1 of two, and of a single process; and where the parameters are."""
    output = tmp_path_factory.mktemp("two_ranks")
    command = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2"]
    command += ["--master", f"127.0.0.1:{_free_port()}", "--log_dir", str(output / "log"), str(WORKER), str(output)]
    pair = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    single = subprocess.run(
        [sys.executable, str(WORKER), str(output)], env=environment(), capture_output=True, text=True, timeout=200
    )
    assert single.returncode == 0, single.stderr
    printed, _ = pair.communicate(timeout=200)
    logs = "\n".join(path.read_text()[-3000:] for path in sorted((output / "log").glob("workerlog.*")))
    assert pair.returncode == 0, printed + logs
    read = {name: json.loads((output / f"report_{name}.json").read_text()) for name in ("1_0", "2_0", "2_1")}
    return {"one": read["1_0"], "ranks": [read["2_0"], read["2_1"]], "output": output}


def test_host_messages(reports: dict[str, Any]) -> None:
    for report in reports["ranks"]:
        assert report["world"] == 2
        assert report["messages"] == ["from 0", "from 1"]
        assert report["empty"] == [0, 0]
        assert report["sum"] == [2.0, 2e-9, 1.0]


@pytest.mark.parametrize("name", ["whole", "micro"])
def test_two_ranks_train_as_one(reports: dict[str, Any], name: str) -> None:
    one, (first, second) = reports["one"], reports["ranks"]
    assert first[name] == second[name]
    np.testing.assert_allclose(first[name], one[name], rtol=0, atol=TOLERANCE)
    assert len(one[name]) == 20
    # Clipping was active: it needs the norm over all ranks.
    assert sum(row[4] > 0.5 for row in one[name]) > 10
    assert first[f"{name}_start"] == second[f"{name}_start"] == one[f"{name}_start"]
    assert first[f"{name}_end"] == second[f"{name}_end"] != first[f"{name}_start"]
    alone, together = (np.load(reports["output"] / f"{name}_{world}.npz") for world in (1, 2))
    for key in alone.files:
        np.testing.assert_allclose(together[key], alone[key], atol=3e-5, err_msg=key)


@pytest.mark.parametrize("name", ["whole", "micro"])
def test_ranks_may_have_different_numbers_of_evaluation_batches(reports: dict[str, Any], name: str) -> None:
    expected = reports["one"][f"{name}_evaluation"]
    for report in reports["ranks"]:
        assert report[f"{name}_evaluation"] == pytest.approx(expected, abs=2e-5)


def test_ranks_may_have_different_numbers_of_micro_batches(reports: dict[str, Any]) -> None:
    for report in reports["ranks"]:
        assert report["uneven"] == pytest.approx(reports["one"]["uneven"], abs=TOLERANCE)


def test_dropout_differs_between_ranks(reports: dict[str, Any]) -> None:
    first, second = reports["one"]["dropout"]
    assert abs(first - second) > 1e-2
    for report in reports["ranks"]:
        assert report["dropout"] == pytest.approx([(first + second) / 2], abs=TOLERANCE)


def test_an_overflow_on_one_rank_skips_on_all(reports: dict[str, Any]) -> None:
    for report in (reports["one"], *reports["ranks"]):
        assert report["scales"] == [2.0**15, 2.0**15, 2.0**14, 2.0**14, 2.0**14]


def test_disagreeing_ranks_are_told(reports: dict[str, Any]) -> None:
    assert "rank 0 trains 'toy', another rank does not" in reports["ranks"][0]["disagreement"]
    assert "rank 1 trains 'second', another rank does not" in reports["ranks"][1]["disagreement"]
    for report in reports["ranks"]:
        assert "the ranks hold different parameters" in report["different"]
