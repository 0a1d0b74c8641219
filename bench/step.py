"""Time and memory of one training step of a masked language model on a CPU.

4 layers, hidden 256, 4 heads, feed-forward 1024, vocabulary 18,000, 16 × 128 tokens of which 15 % are masked (the
prediction head only computes these), dropout 0.1, float32, AdamW, clipping by the global norm. With `--vs torch`, the
same step in plain PyTorch (eager) is timed alternately with ours, each side in a separate process, and the ratio of the
shortest steps is printed: other load on the machine affects the shortest step least.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

SPEC: dict[str, Any] = {
    "layers": 4,
    "hidden": 256,
    "heads": 4,
    "ffn": 1024,
    "vocab": 18000,
    "eps": 1e-12,
    "dropout": 0.1,
}
BATCH, LENGTH, MASKED = 16, 128, 0.15
WARM_UP = 3


class Side:
    """One process that runs steps on request, and the times that it reported."""

    def __init__(self, name: str, command: list[str], threads: int) -> None:
        self.name = name
        self.ms: list[float] = []
        self.cpu_ms: list[float] = []
        self.peak_mb = 0.0
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open as long as the process
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=Path(__file__).parents[1],
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)},
        )

    def steps(self, count: int, keep: bool = True) -> None:
        """Run steps; their times are kept unless they only warm up."""
        report = self.ask(str(count))
        if keep:
            self.ms += report["ms"]
            self.cpu_ms += report["cpu_ms"]

    def ask(self, request: str) -> dict[str, Any]:
        """Send a line, and wait for the report on the requested steps."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(request, file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.close()
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines()
            raise SystemExit(f"{self.name}: the process ended: {said[-1] if said else 'it said nothing'}")
        report: dict[str, Any] = json.loads(line)
        self.peak_mb = report["peak_mb"]
        return report

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def __str__(self) -> str:
        rate = BATCH * LENGTH / min(self.ms) * 1000
        return (
            f"{self.name:<10} shortest {min(self.ms):7.1f} ms   median {statistics.median(self.ms):7.1f} ms   "
            f"processor time {min(self.cpu_ms):7.1f} ms   {rate:7.0f} tokens/s   peak memory {self.peak_mb:5.0f} MB"
        )


def make_batch(path: Path) -> None:
    """Write one random batch, which both sides use."""
    rng = np.random.default_rng(0)
    shape, vocab = (BATCH, LENGTH), SPEC["vocab"]
    n_masked = int(MASKED * BATCH * LENGTH)
    np.savez(
        path,
        input_ids=rng.integers(5, vocab, shape),
        segment_ids=np.zeros(shape, np.int64),
        attention_mask=np.ones(shape, np.int64),
        positions=np.sort(rng.choice(BATCH * LENGTH, n_masked, replace=False)),
        labels=rng.integers(5, vocab, n_masked),
    )


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; the exit code is 0 whatever the results are."""
    parser = argparse.ArgumentParser(prog="bench step", description=__doc__)
    parser.add_argument("--vs", choices=["torch"], help="compare with PyTorch, which must be installed")
    parser.add_argument("--steps", type=int, default=5, help="steps of each side in a round (default 5)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, in which the sides alternate (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each side (default 2)")
    parser.add_argument(
        "--torch_python", default=sys.executable, help="interpreter that has PyTorch (default: this one)"
    )
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        batch = Path(folder) / "batch.npz"
        make_batch(batch)
        spec = json.dumps(SPEC | {"threads": options.threads, "batch": str(batch)})
        sides = [Side("ours", [sys.executable, "-m", "bench.paddle_step", spec], options.threads)]
        if options.vs:
            script = str(Path(__file__).with_name("torch_step.py"))
            sides.append(Side("torch", [options.torch_python, script, spec], options.threads))
        try:
            for side in sides:
                side.steps(WARM_UP, keep=False)
            for _ in range(options.rounds):
                for side in sides:
                    side.steps(options.steps)
        finally:
            for side in sides:
                side.close()
    for side in sides:
        print(side)
    if options.vs:
        ours, theirs = sides
        print(
            f"ratio ours / torch: shortest {min(ours.ms) / min(theirs.ms):.2f}, "
            f"median {statistics.median(ours.ms) / statistics.median(theirs.ms):.2f} (goal: at most 1.00)"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
