"""Run the whole workflow on real text: from Python's own manual to predictions of the exported model.

Runs the same `ernie` commands that a user would type, prints each of them, and ends with a summary of the results.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

from ernie_paddle.cli import options as opt
from ernie_paddle.cli.main import EXIT_INTERRUPTED
from ernie_paddle.jobs.job import RunFailedError
from ernie_paddle.manual_text import write_quickstart_data
from propeller.tools.wheels import require_paddle

RECIPE = "quickstart"
VOCAB_SIZE = 2000
_FINETUNE = ["--epochs", "3", "--batch_size", "16", "--lr", "1e-3", "--max_length", "64", "--log_every", "100"]


def quickstart(folder: Path) -> None:
    """Run the workflow inside ``folder``; steps that an earlier run has finished are not repeated."""
    began = time.monotonic()
    _heading("1. Text: Python's own manual")
    data = write_quickstart_data(folder / "text")
    print(
        f"{data.corpus}: {data.documents} documents, {data.passages:,} passages to pre-train on\n"
        f"{data.train}, {data.dev}: {data.train_rows} and {data.dev_rows} passages; the task: from which of the "
        f"{len(data.topics)} largest topics does a passage come? (the passages of the dev table occur nowhere else)"
    )

    _heading("2. A WordPiece vocabulary, and shards")
    vocab, corpus = folder / "vocab", folder / "corpus"
    ernie("vocab", data.corpus, "--size", str(VOCAB_SIZE), "--output", vocab)
    ernie(
        "prepare",
        data.corpus,
        "--vocab",
        vocab,
        "--segmenters",
        "phrases,capitals",
        "--heldout",
        "0.05",
        "--output",
        corpus,
    )

    _heading("3. Pre-training: continual multi-task learning in two stages")
    run = folder / "pretrain"
    ernie("pretrain", "--recipe", RECIPE, "--data", corpus, "--output", run)

    _heading("4. Fine-tuning on the topics, from the pre-trained model and from random weights")
    table = ["--train", str(data.train), "--dev", str(data.dev), "--text_a", "passage", "--label", "topic"]
    tuned, fresh = folder / "finetune", folder / "finetune_from_random"
    ernie("finetune", "--model", run, *table, *_FINETUNE, "--output", tuned)
    ernie("finetune", "--size", RECIPE, "--vocab", vocab, *table, *_FINETUNE, "--output", fresh)

    _heading("5. Export for Paddle Inference, and predictions of the exported model")
    exported = folder / "exported"
    ernie("export", "--model", tuned, "--output", exported)
    questions = folder / "questions.tsv"
    rows = data.dev.read_text(encoding="utf-8").splitlines()
    questions.write_text("\n".join(rows[:6]) + "\n", encoding="utf-8")
    ernie("predict", "--model", exported, "--input", questions)

    _heading("What came out")
    _summary(folder, time.monotonic() - began)


def _summary(folder: Path, seconds: float) -> None:
    results = {
        name: json.loads((folder / name / "results.json").read_text(encoding="utf-8"))
        for name in ("finetune", "finetune_from_random")
    }
    print(f"accuracy on the dev passages after {_FINETUNE[1]} epochs:")
    for title, accuracy in (
        ("majority class", results["finetune"]["baseline"]["accuracy"]),
        ("without pre-training", results["finetune_from_random"]["best"]["accuracy"]),
        ("pre-trained", results["finetune"]["best"]["accuracy"]),
    ):
        print(f"  {title:<22} {accuracy:.3f}")
    run = folder / "pretrain"
    print(f"loss curves: {run / 'curves.png'}   log: {run / 'log.jsonl'}   VisualDL: visualdl --logdir {run / 'vdl'}")
    print(f"pre-trained: {run}   fine-tuned: {folder / 'finetune'}   exported: {folder / 'exported'}")
    print(f"{seconds / 60:.1f} minutes")


def _heading(text: str) -> None:
    print(f"\n== {text}", flush=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    opt.option(parser, "--output", Path, Path("quickstart"), "folder of all files")


def run(args: argparse.Namespace) -> int:
    """Run the workflow; returns the exit code of the first command that failed, or 0."""
    require_paddle()
    try:
        quickstart(args.output)
    except RunFailedError as failure:
        return failure.code
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again to resume", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def ernie(*arguments: str | Path) -> str:
    """Run one `ernie` command in a new process, printed as it would be typed; returns its output.

    Raises:
        RunFailedError: The exit code of the command is not 0.
    """
    words = [str(argument) for argument in arguments]
    print(f"\n$ ernie {shlex.join(words)}", flush=True)
    command = [sys.executable, "-m", "ernie_paddle.cli.main", *words]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    print(result.stdout, end="", flush=True)
    if result.returncode != 0:
        raise RunFailedError(result.returncode)
    return result.stdout
