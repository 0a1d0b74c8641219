"""The examples of docs/extending.md work: they are written to a folder, registered there, and used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.documents import blocks, example_files, section, text_of
from helpers.finetune_toy import WORDS, write_pretrained
from helpers.paths import environment

DOCUMENT = "docs/extending.md"
FILES = example_files(DOCUMENT)
PACKAGES = ("ernie_paddle.objectives", "ernie_paddle.finetune.tasks", "reader.corpora")
REGISTERED = f"""
import importlib, sys
for name in {PACKAGES!r}:
    importlib.import_module(name).__path__.append(sys.argv[1] + "/" + name.replace(".", "/"))
from ernie_paddle.finetune.task_type import TASK_TYPES
from reader.corpora.kinds import KINDS
from reader.corpora.lines import KIND
TASK_TYPES.update({{{{types}}}})
KINDS.update({{{{kinds}}}})
"""
"""What a new file and the lines of the tables do, without a change of the source."""
TINY = {
    "arch.hidden_size": 16, "arch.num_hidden_layers": 1, "arch.num_attention_heads": 2, "arch.intermediate_size": 32,
    "train.batch_tokens": 512, "train.micro_batch_tokens": 512, "train.eval_batches": 2, "train.workers": 0,
    "train.learning_rate.warmup_steps": 2,
}  # fmt: skip
SETS = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example files under their own paths."""
    folder = tmp_path_factory.mktemp("extended")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def entry(table: str) -> str:
    """The line that the document adds to a table."""
    (found,) = (block for block in blocks(text_of(DOCUMENT), "python") if block.startswith(f"# in {table} of "))
    return found.partition("\n")[2].strip()


def run(folder: Path, program: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """A program that has the examples, with arguments."""
    start = REGISTERED.replace("{types}", entry("TASK_TYPES")).replace("{kinds}", entry("KINDS"))
    return subprocess.run(
        [sys.executable, "-c", start + program, str(folder), *map(str, words)],
        env=environment(), capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


VERB = "from ernie_paddle.cli.main import main\nsys.exit(main(sys.argv[2:]))\n"


def test_an_objective(extended: Path, manual_corpus: Path, tmp_path: Path) -> None:
    listed = run(extended, VERB, "list", "objectives")
    assert "word_start" in listed.stdout, listed.stderr
    recipe = extended / "configs" / "recipes" / "word_start.yaml"
    done = run(
        extended, VERB, "pretrain", "--recipe", recipe, "--data", manual_corpus, "--output", tmp_path / "run", *SETS
    )
    assert done.returncode == 0, done.stderr
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    held_out = [line for line in log if line["kind"] == "eval"]
    assert held_out
    assert "word_start" in json.dumps(held_out[-1])


def test_a_task_type(extended: Path, tmp_path: Path) -> None:
    model = write_pretrained(tmp_path / "model")
    for name, rows in (("train", 192), ("dev", 64)):
        # The count is how often the word w0 occurs.
        lines = [f"{' '.join(WORDS[n * (i + 3) % 20] for n in range(5))} {'w0 ' * (i % 4)}\t{i % 4 + 1}"
                 for i in range(rows)]  # fmt: skip
        (tmp_path / f"{name}.tsv").write_text("text\tcount\n" + "\n".join(lines) + "\n")
    table = tmp_path / "dev.tsv"
    words = ["--type", "counts", "--text_a", "text", "--label", "count"]
    tuned = run(
        extended, VERB, "finetune", "--model", model, "--train", tmp_path / "train.tsv", "--dev", table, *words,
        "--epochs", "8", "--lr", "1e-2", "--max_length", "24", "--output", tmp_path / "tuned",
    )  # fmt: skip
    assert tuned.returncode == 0, tuned.stderr
    report = json.loads((tmp_path / "tuned" / "results.json").read_text())
    assert report["best"]["pearson"] > 0.8
    answered = run(extended, VERB, "predict", "--model", tmp_path / "tuned", "--input", table)
    counts = [float(line.split("\t")[1]) for line in answered.stdout.splitlines()[1:]]
    assert len(counts) == 64
    assert min(counts) > 0
    (tmp_path / "wrong.tsv").write_text("text\tcount\nw1 w2\t1\nw1 w2\t-1\n")
    refused = run(extended, VERB, "evaluate", "--model", tmp_path / "tuned", "--data", tmp_path / "wrong.tsv")
    assert refused.returncode == 2
    assert "is not a whole number of at least 0" in refused.stderr
    other = run(extended, VERB, "convert", "--from", tmp_path / "tuned", "--format", "hf", "--to", tmp_path / "hf")
    assert other.returncode == 2
    assert "a regression on counts has no class there" in other.stderr


def test_a_corpus_kind(extended: Path, manual_corpus: Path, tmp_path: Path) -> None:
    made = run(
        extended,
        "import pickle\n"
        "from pathlib import Path\n"
        "from reader.corpora.lines import write_lines\n"
        "from reader.corpora.kinds import open_samples\n"
        "lines = [f'the function returns a list of {n} words' for n in range(400)] + ['one']\n"
        "write_lines(Path(sys.argv[2]), {'train': lines, 'heldout': lines[:50]}, Path(sys.argv[3]))\n"
        "index = open_samples(sys.argv[2], 'train', 6, 4)\n"
        "copy = pickle.loads(pickle.dumps(index))\n"
        "assert len(copy) == len(index) == 400 and index.skipped.total == 1, len(index)\n"
        "assert copy.sample(7).tokens.tolist() == index.document(7).tokens.tolist()[:6]\n",
        tmp_path / "lines", manual_corpus,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    shown = run(extended, VERB, "inspect", tmp_path / "lines")
    assert "corpus of single lines" in shown.stdout, shown.stderr
    recipe = tmp_path / "lines.yaml"
    text = (
        (extended / "configs" / "recipes" / "word_start.yaml").read_text().replace("word_start: {}", "line_start: {}")
    )
    recipe.write_text(text)
    words = ["pretrain", "--recipe", recipe, "--output", tmp_path / "run", *SETS]
    done = run(extended, VERB, *words, "--data", tmp_path / "lines")
    assert done.returncode == 0, done.stderr
    refused = run(extended, VERB, *words, "--data", manual_corpus, "--output", tmp_path / "other")
    assert refused.returncode == 2
    assert "ernie prepare-lines" in refused.stderr


def test_a_model_family(extended: Path) -> None:
    done = run(extended, "import runpy\nrunpy.run_path(sys.argv[2])\n", extended / "example_family.py")
    (printed,) = blocks(section(DOCUMENT, "A model family"), "text")
    assert done.stdout == printed, done.stderr


def test_a_benchmark_suite(extended: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "text").mkdir(parents=True)
    for name, rows in (("train", 120), ("dev", 40)):
        lines = [f"a passage about {'lists' if i % 2 else 'files'} {i}\t{i % 2}" for i in range(rows)]
        (tmp_path / "data" / "text" / f"{name}.tsv").write_text("passage\ttopic\n" + "\n".join(lines) + "\n")
    suites = (
        "from pathlib import Path\n"
        "from ernie_paddle import yaml_configs\n"
        "from ernie_paddle.benchmarks import suite\n"
        "real = suite.configs_dir()\n"
        "folder = Path(sys.argv[1]) / 'configs'\n"
        "for name in ('arch', 'train', 'data'):\n"
        "    if not (folder / name).exists(): (folder / name).symlink_to(real / name)\n"
        "suite.configs_dir = lambda: folder\n"
    )
    done = run(
        extended, suites + VERB, "benchmarks", "manual", "--size", "tiny", "--data_dir", tmp_path / "data",
        "--seeds", "1", "--output_dir", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Topics" in (tmp_path / "out" / "results.md").read_text()
