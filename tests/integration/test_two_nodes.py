"""Two machines as one job, tried on one machine that plays both: the run is that of a single process."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from helpers.paths import ROOT, environment
from helpers.pretrain_runs import STEPS, arguments, ernie, log

NO_DROPOUT = {"arch__hidden_dropout_prob": 0.0, "arch__attention_probs_dropout_prob": 0.0}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_two_nodes_train_as_one_process(manual_corpus: Path, tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    result = ernie(*arguments(manual_corpus, alone, **NO_DROPOUT))
    assert result.returncode == 0, result.stderr
    words = arguments(manual_corpus, together, **NO_DROPOUT)[1:]
    master = f"127.0.0.1:{_free_port()}"
    nodes = []
    for node in range(2):
        launch = ["--nnodes", "2", "--nproc_per_node", "1", "--master", master, "--rank", str(node)]
        launch += ["--log_dir", str(tmp_path / f"log-{node}")]
        command = [sys.executable, "-m", "propeller.tools.fleetrun", *launch, str(ROOT / "pretrain.py"), *words]
        nodes.append(
            subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
    said = [node.communicate(timeout=280)[0] for node in nodes]
    logs = "\n".join(path.read_text()[-3000:] for path in sorted(tmp_path.glob("log-*/workerlog.*")))
    assert [node.returncode for node in nodes] == [0, 0], "\n".join([*said, logs])
    one, two = ([line for line in log(folder) if line["kind"] == "step"] for folder in (alone, together))
    assert len(one) == len(two) == STEPS
    np.testing.assert_allclose([line["loss"] for line in two], [line["loss"] for line in one], rtol=1e-6)
    place = f"checkpoints/step-{STEPS:08d}/model.safetensors"
    first, second = (load_file(folder / place) for folder in (alone, together))
    assert first.keys() == second.keys()
    # The gradient of a key's bias is zero but for rounding, which Adam makes large.
    worst = max(float(np.abs(first[name] - second[name]).max()) for name in first if "k_proj.bias" not in name)
    assert worst <= 1.2e-6, "sums of float32 in another order"
