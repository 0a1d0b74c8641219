"""Small pre-training runs as a person starts them: the command, and what its log says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from helpers.paths import environment

STEPS = 18

# Two tasks in two stages, two micro-batches a step, dropout on, one worker process.
SETTINGS = {
    "arch.hidden_size": 32,
    "arch.num_attention_heads": 2,
    "arch.intermediate_size": 64,
    "arch.num_hidden_layers": 2,
    "arch.hidden_dropout_prob": 0.1,
    "arch.attention_probs_dropout_prob": 0.1,
    "data.max_length": 64,
    "train.batch_tokens": 1024,
    "train.micro_batch_tokens": 512,
    "train.checkpoint_every": 5,
    "train.eval_every": 9,
    "train.eval_batches": 2,
    "train.log_every": 1,
    "train.learning_rate.warmup_steps": 4,
    "schedule.steps_per_task": STEPS // 2,
}


def arguments(corpus: Path, folder: Path, **settings: object) -> list[str]:
    """Arguments of `ernie pretrain`; keywords replace settings, with __ for a dot."""
    changed = {**SETTINGS, **{key.replace("__", "."): value for key, value in settings.items()}}
    sets = [word for key, value in changed.items() for word in ("--set", f"{key}={value}")]
    return ["pretrain", "--recipe", "quickstart", "--data", str(corpus), "--output", str(folder), *sets]


def ernie(*words: str, script: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run `ernie WORDS`, or a script that ends in calling it, and wait."""
    start = ["-c", script] if script else ["-m", "ernie_paddle.cli.main"]
    return subprocess.run(
        [sys.executable, *start, *words], capture_output=True, text=True, env=environment(), timeout=240, check=False
    )


def log(folder: Path) -> list[dict[str, object]]:
    """What the log says, without times: steps and evaluations in order."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    timed = ("seconds", "eta", "units_per_second")
    return [{key: value for key, value in line.items() if key not in timed} for line in lines]
