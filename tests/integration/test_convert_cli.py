"""Fine-tuning from weights of another project is fine-tuning from our own checkpoint of them."""

from __future__ import annotations

import json
from pathlib import Path

from finetune_toy import write_pretrained, write_table

from ernie_paddle.cli.main import main


def test_finetune_takes_released_weights_as_they_are(tmp_path: Path) -> None:
    write_pretrained(tmp_path / "model")
    train, dev = (write_table(tmp_path / f"{name}.tsv", 40, seed, "first") for seed, name in enumerate(["a", "b"]))
    results = {}
    for layout in ("ours", "hf", "paddlenlp", "static"):
        folder = tmp_path / layout
        assert main(["convert", "--from", str(tmp_path / "model"), "--to", str(folder), "--format", layout]) == 0
        options = f"--train {train} --dev {dev} --text_a a --label label --epochs 1 --batch_size 8 --max_length 16"
        run = tmp_path / f"run-{layout}"
        assert main(["finetune", "--model", str(folder), "--output", str(run), *options.split()]) == 0
        (found,) = (path for path in run.glob("*.json") if "best" in json.loads(path.read_text()))
        results[layout] = json.loads(found.read_text())
    assert all(result == results["ours"] for result in results.values())
    assert 0 < results["ours"]["best"]["loss"] < 1
