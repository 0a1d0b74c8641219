"""The main job end to end on real text: Python's own manual, from raw text to answers of the exported model.

Runs the same `ernie` commands that a person would type, prints each of them, and ends with what came out of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from ernie_paddle.manual_text import write_quickstart_data
from ernie_paddle.verbs import VerbFailedError, ernie

RECIPE = "quickstart"
VOCAB_SIZE = 2000
_FINETUNE = ["--epochs", "3", "--batch_size", "16", "--lr", "1e-3", "--max_length", "64", "--log_every", "100"]


def quickstart(folder: Path) -> None:
    """Do everything inside ``folder``; steps that a run before has finished are not done again."""
    began = time.monotonic()
    _heading("1. Text: Python's own manual")
    data = write_quickstart_data(folder / "text")
    print(
        f"{data.corpus}: {data.documents} documents, {data.passages:,} passages to pre-train on\n"
        f"{data.train}, {data.dev}: {data.train_rows} and {data.dev_rows} passages; from which of the "
        f"{len(data.topics)} largest topics do they come? (the passages of the dev table occur nowhere else)"
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

    _heading("5. Export for Paddle Inference, and answers of the exported model")
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


def main() -> int:
    """`python -m ernie_paddle.cli.quickstart [DIR]`."""
    parser = argparse.ArgumentParser(prog="run.sh quickstart", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("quickstart"), help="where everything goes")
    folder = parser.parse_args().folder
    try:
        quickstart(folder)
    except VerbFailedError as failure:
        return failure.code
    except KeyboardInterrupt:
        print(f"\ninterrupted; `bash run.sh quickstart {folder}` goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
