"""Preparation end to end: right tokens, any number of workers, any interruption, nobody's files harmed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.paths import ROOT, environment
from reader.corpora.corpus import Corpus, read_corpus_info
from reader.errors import DataError
from reader.prepare import documents as prepare_module
from reader.prepare.document_parts import draw
from reader.prepare.documents import prepare
from reader.prepare.job import Progress
from reader.tokenizers.base import Tokenizer
from reader.tokenizers.load import load_tokenizer
from reader.tokenizers.vocab import SPECIALS, write_vocab
from reader.tokenizers.wordpiece import WordPieceTokenizer

WORDS = ["the", "old", "new", "york", "city", "river", "runs", "by", "london", "and", "a", "bridge", "of", "stone"]
WORDS += ["中", "国", ",", "."]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocab") / "v.txt"
    write_vocab(path, [*SPECIALS, *WORDS, *LETTERS[:20], *("##" + letter for letter in LETTERS)])
    return path


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two files: 300 documents of plain text, and 200 of JSON lines in two languages."""
    folder = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(1)

    def sentence() -> str:
        words = rng.choice([*WORDS, "New York City", "stony", "Ω"], rng.integers(1, 12)).tolist()
        text = " ".join(words) + " ."
        return text[0].upper() + text[1:]

    with (folder / "a.txt").open("w", encoding="utf-8") as file:
        for _ in range(300):
            file.write("".join(sentence() + "\n" for _ in range(rng.integers(1, 8))) + "\n")
    with (folder / "b.jsonl").open("w", encoding="utf-8") as file:
        for number in range(200):
            paragraphs = [[sentence() for _ in range(3)], [sentence()]]
            file.write(json.dumps({"paragraphs": paragraphs, "language": "en" if number % 2 else "zh"}) + "\n")
    return folder


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_module, "BLOCK_BYTES", 4000)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def run(texts: Path, output: Path, vocabulary: Path, **settings: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {"workers": 0, "heldout": 0.1, "seed": 3, "shard_tokens": 3000}
    return prepare([texts / "a.txt", texts / "*.jsonl"], output, vocabulary, **{**defaults, **settings})


def test_the_shards_hold_the_text(texts: Path, tmp_path: Path, vocabulary: Path) -> None:
    stages: list[Progress] = []
    summary = run(texts, tmp_path / "c", vocabulary, progress=stages.append)
    # All documents again, in the plainest way.
    documents = [(part.split("\n"), None) for part in (texts / "a.txt").read_text().strip().split("\n\n")]
    for line in (texts / "b.jsonl").read_text().splitlines():
        entry = json.loads(line)
        documents.append(([s for p in entry["paragraphs"] for s in p], entry["language"]))
    library = load_tokenizer(vocabulary)
    assert isinstance(library, WordPieceTokenizer)
    expected = [([library.library.encode(s).ids for s in sentences], language) for sentences, language in documents]
    found: dict[str, list[Any]] = {"train": [], "heldout": []}
    for split, rows in found.items():
        corpus = Corpus.open(tmp_path / "c", split)
        assert len(corpus.shards) == len(corpus.info["splits"][split]["shards"])
        assert all(shard.n_tokens < 3000 + 4000 for shard in corpus.shards)
        for shard in corpus.shards:
            for number in range(shard.n_documents):
                first, last = shard.document_offsets[number : number + 2]
                bounds = shard.sentence_offsets[first : last + 1]
                language = int(shard.document_language[number])
                rows.append(
                    (
                        [shard.tokens[a:b].tolist() for a, b in pairwise(bounds)],
                        None if language < 0 else corpus.languages[language],
                    )
                )
    assert len(Corpus.open(tmp_path / "c").shards) > 3
    heldout = list(found["heldout"])
    # Both splits keep the order of the text, and together they are all of it.
    merged = []
    train = iter(found["train"])
    for document in expected:
        if heldout and heldout[0] == document:
            merged.append(heldout.pop(0))
        else:
            merged.append(next(train))
    assert merged == expected
    assert not heldout
    assert next(train, None) is None
    assert 0.05 < len(found["heldout"]) / 500 < 0.17
    assert summary["documents"] == 500
    assert summary["tokens"] == sum(len(s) for document, _ in expected for s in document)
    unknown = sum(s.count(1) for document, _ in expected for s in document)
    assert unknown == sum(split["n_unknown"] for split in summary["splits"].values()) > 0
    assert summary["skipped"] == {}
    assert stages[-1].stage == "shards"
    assert stages[-1].done == stages[-1].total
    assert not (tmp_path / "c" / ".partial").exists()
    assert load_tokenizer(tmp_path / "c").encode("New York") == library.encode("New York")


def test_any_number_of_workers_gives_the_same_bits(texts: Path, tmp_path: Path, vocabulary: Path) -> None:
    settings = {"segmenters": ["phrases", "capitals"]}
    run(texts, tmp_path / "c0", vocabulary, **settings)
    summary = run(texts, tmp_path / "c2", vocabulary, workers=2, **settings)
    assert summary["workers"] == 2
    assert content(tmp_path / "c0") == content(tmp_path / "c2")
    corpus = Corpus.open(tmp_path / "c2")
    flags = np.concatenate([shard.flags for shard in corpus.shards])
    plain = run(texts, tmp_path / "plain", vocabulary)
    assert plain["phrases"] == 0 < summary["phrases"]
    without = np.concatenate([shard.flags for shard in Corpus.open(tmp_path / "plain").shards])
    assert (flags & 0b10011001 == without).all()
    for bit in (2, 4, 32, 64):
        assert (flags & bit).any()
        assert not (without & bit).any()


def test_heldout_documents_depend_on_the_seed_only(texts: Path, tmp_path: Path, vocabulary: Path) -> None:
    def chosen(name: str, **settings: Any) -> list[int]:
        run(texts, tmp_path / name, vocabulary, **settings)
        return [s.n_tokens for s in Corpus.open(tmp_path / name, "heldout").shards]

    first = chosen("a")
    assert chosen("b", workers=1) == first
    assert chosen("c", seed=4) != first
    run(texts, tmp_path / "none", vocabulary, heldout=0.0)
    with pytest.raises(DataError, match="no split 'heldout', only train"):
        Corpus.open(tmp_path / "none", "heldout")


def documents_of(corpus: Path, split: str) -> list[list[int]]:
    """The tokens of each document."""
    found = []
    for shard in Corpus.open(corpus, split).shards:
        bounds = shard.sentence_offsets[shard.document_offsets]
        found += [shard.tokens[a:b].tolist() for a, b in pairwise(bounds)]
    return found


@pytest.mark.parametrize("seed", range(3))
def test_one_document_is_held_out_where_chance_takes_none(tmp_path: Path, vocabulary: Path, seed: int) -> None:
    text = tmp_path / "a.txt"
    documents = [f"{word} " * 1000 + "." for word in WORDS[:7]]  # 4 kB and more: each a block of its own
    text.write_text("\n\n".join(documents))
    settings = {"heldout": 1e-6, "seed": seed, "format": "lines"}
    summary = prepare([text], tmp_path / "c0", vocabulary, workers=0, **settings)
    prepare([text], tmp_path / "c2", vocabulary, workers=2, **settings)
    assert content(tmp_path / "c0") == content(tmp_path / "c2")
    assert {name: split["n_documents"] for name, split in summary["splits"].items()} == {"train": 6, "heldout": 1}
    encoded = [load_tokenizer(vocabulary).encode(document) for document in documents]
    hashes = [draw(seed, 0, 1 + 2 * number) for number in range(7)]
    chosen = encoded.pop(hashes.index(min(hashes)))
    assert documents_of(tmp_path / "c0", "heldout") == [chosen]
    assert documents_of(tmp_path / "c0", "train") == encoded
    # Killed after that document was chosen: the same again.
    with pytest.raises(StopError):
        prepare([text], tmp_path / "c", vocabulary, workers=0, progress=stop_after("shards", 1), **settings)
    prepare([text], tmp_path / "c", vocabulary, workers=0, **settings)
    assert content(tmp_path / "c") == content(tmp_path / "c0")


@pytest.mark.parametrize("heldout", [0.02, 0.999999])
def test_a_single_document_is_for_training(tmp_path: Path, vocabulary: Path, heldout: float) -> None:
    text = tmp_path / "a.txt"
    text.write_text("The river runs. The bridge of stone.\n" * 400)
    summary = prepare([text], tmp_path / "c", vocabulary, workers=0, heldout=heldout, format="paragraphs")
    assert list(summary["splits"]) == list(read_corpus_info(tmp_path / "c")["splits"]) == ["train"]
    assert summary["splits"]["train"]["n_documents"] == 1
    assert summary["splits"]["train"]["n_sentences"] == summary["sentences"] == 800
    nothing, whole = summary["notes"]
    assert nothing.startswith("nothing is held out: the whole input is one document")
    assert f"{text} (800 sentences)" in whole
    assert "a blank line separates documents" in whole
    again = prepare([text], tmp_path / "c", vocabulary, workers=0, heldout=heldout, format="paragraphs")
    assert again["already_there"]
    assert again["notes"] == summary["notes"]


def test_small_documents_are_left_out_and_long_ones_cut(texts: Path, tmp_path: Path, vocabulary: Path) -> None:
    limits = {"document_tokens": 20, "min_words": 10, "min_sentences": 3}
    summary = run(texts, tmp_path / "c", vocabulary, heldout=0.0, **limits)
    tokenizer = load_tokenizer(vocabulary)
    documents = [part.split("\n") for part in (texts / "a.txt").read_text().strip().split("\n\n")]
    for line in (texts / "b.jsonl").read_text().splitlines():
        documents.append([s for p in json.loads(line)["paragraphs"] for s in p])
    short = [d for d in documents if sum(len(s.split()) for s in d) < 10]
    few = [d for d in documents if d not in short and len(d) < 3]
    assert short
    assert few
    found = {reason: entry["count"] for reason, entry in summary["skipped"].items()}
    assert found == {"document of fewer than 10 words": len(short), "document of fewer than 3 sentences": len(few)}
    # The pieces put together again; each would have room but for its last sentence.
    pieces = [piece for shard in Corpus.open(tmp_path / "c").shards for piece in pieces_of(shard)]
    rest = iter(pieces)
    cut = 0
    for document in documents:
        if document in short or document in few:
            continue
        expected = [tokenizer.encode(sentence) for sentence in document]
        parts: list[list[list[int]]] = []
        while sum(map(len, parts)) < len(expected):
            parts.append(next(rest))
        assert [sentence for part in parts for sentence in part] == expected
        assert all(sum(map(len, part[:-1])) < 20 for part in parts)
        cut += len(parts) > 1
    assert next(rest, None) is None
    assert cut > 50
    assert summary["documents"] == len(pieces)


def pieces_of(shard: Any) -> list[list[list[int]]]:
    bounds = [shard.sentence_offsets[a : b + 1] for a, b in pairwise(shard.document_offsets)]
    return [[shard.tokens[a:b].tolist() for a, b in pairwise(sentences)] for sentences in bounds]


def test_pieces_are_held_out_each_for_itself(tmp_path: Path, vocabulary: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("The river runs by the bridge .\n" * 400)
    settings: dict[str, Any] = {"heldout": 0.2, "format": "lines", "document_tokens": 14}
    summary = prepare([text], tmp_path / "c", vocabulary, workers=0, **settings)
    assert summary["documents"] == 200
    assert 20 < summary["splits"]["heldout"]["n_documents"] < 60
    assert summary["notes"] == []
    prepare([text], tmp_path / "c2", vocabulary, workers=2, **settings)
    assert content(tmp_path / "c") == content(tmp_path / "c2")


def test_limits_are_settings_like_others(texts: Path, tmp_path: Path, vocabulary: Path) -> None:
    run(texts, tmp_path / "c", vocabulary, min_words=10)
    assert run(texts, tmp_path / "c", vocabulary, min_words=10)["already_there"]
    with pytest.raises(DataError, match="min_words differs"):
        run(texts, tmp_path / "c", vocabulary)
    with pytest.raises(DataError, match="document_tokens, min_words differ"):
        run(texts, tmp_path / "c", vocabulary, min_words=11, document_tokens=5)
    with pytest.raises(DataError, match="min_sentences must be 1 or more, not 0"):
        run(texts, tmp_path / "d", vocabulary, min_sentences=0)


def test_notes_on_long_documents_only(texts: Path, tmp_path: Path, vocabulary: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.txt").write_text("the river\n" * 300)
    (tmp_path / "short.txt").write_text("the river\n" * 299)
    (tmp_path / "j.jsonl").write_text(json.dumps({"paragraphs": [["the river"] * 300]}) + "\n")
    inputs = [str(tmp_path / "*.txt"), str(tmp_path / "*.jsonl")]
    (note,) = prepare(inputs, tmp_path / "c", vocabulary, workers=0)["notes"]
    assert note.startswith("each of these 5 files is one single document")
    assert note.endswith(f"{tmp_path / '2.txt'} (300 sentences) and 2 more")
    assert run(texts, tmp_path / "many", vocabulary)["notes"] == []


def test_a_corpus_without_training_text_is_refused(tmp_path: Path, vocabulary: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("the river\n\nthe bridge\n")
    with pytest.raises(DataError, match=r"all 2 documents were drawn.*blank line"):
        prepare([text], tmp_path / "c", vocabulary, workers=0, heldout=0.999999)
    assert not (tmp_path / "c" / "corpus.json").exists()
    assert not (tmp_path / "c" / ".partial").exists()


def test_names_that_are_not_unicode(tmp_path: Path, vocabulary: Path) -> None:
    text = tmp_path / os.fsdecode(b"caf\xe9.jsonl")
    lines = [{"text": "the river", "language": "\ud800"}, {"text": "the city", "lang": "en"}, {"text": 3}]
    text.write_text("".join(json.dumps(line) + "\n" for line in lines))
    summary = prepare([text], tmp_path / "c", vocabulary, workers=0)
    assert (summary["documents"], summary["languages"]) == (2, ["en"])
    reasons = {reason: entry["places"] for reason, entry in summary["skipped"].items()}
    place = str(tmp_path / "caf\\udce9.jsonl")
    assert reasons == {
        "`language` that is not a name, left out (the document is kept)": [f"{place}:1"],
        "JSON line whose `text` is not a string": [f"{place}:3"],
    }
    info = read_corpus_info(tmp_path / "c")
    assert info["inputs"] == [str(text)]
    "".join(summary["skipped_lines"]).encode("utf-8")


def test_a_finished_corpus_is_left_alone(texts: Path, tmp_path: Path, vocabulary: Path) -> None:
    output = tmp_path / "c"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    first = run(texts, output, vocabulary)
    before = {path: path.stat().st_mtime_ns for path in output.iterdir()}
    again = run(texts, output, vocabulary, workers=2)
    assert again["already_there"]
    assert again["tokens"] == first["tokens"]
    assert {path: path.stat().st_mtime_ns for path in output.iterdir()} == before
    with pytest.raises(DataError, match=r"other inputs or with other settings .seed differs.*add --overwrite"):
        run(texts, output, vocabulary, seed=9)
    replaced = run(texts, output, vocabulary, shard_tokens=10**9, overwrite=True)
    assert not replaced["already_there"]
    assert sorted(content(output)) == [
        "corpus.json", "heldout-00000.safetensors", "notes.txt", "tokenizer_config.json", "train-00000.safetensors",
        "vocab.txt",
    ]  # fmt: skip
    os.utime(texts / "a.txt")
    with pytest.raises(DataError, match="other inputs"):
        run(texts, output, vocabulary, shard_tokens=10**9)


def test_foreign_files_are_never_replaced(texts: Path, tmp_path: Path, vocabulary: Path) -> None:
    for name in ("train-00000.safetensors", "vocab.txt"):
        output = tmp_path / name
        output.mkdir()
        (output / name).write_text("mine")
        with pytest.raises(DataError, match=f"{name} is there but belongs to no corpus"):
            run(texts, output, vocabulary)
        assert (output / name).read_text() == "mine"
        assert not (output / "corpus.json").exists()
    same = tmp_path / "same"
    same.mkdir()
    (same / "vocab.txt").write_bytes(vocabulary.read_bytes())
    run(texts, same, vocabulary)
    run(texts, same, vocabulary, seed=8, overwrite=True)
    assert (same / "vocab.txt").exists()


class StopError(Exception):
    """Stands for a kill."""


def stop_after(stage: str, count: int) -> Callable[[Progress], None]:
    left = [count]

    def progress(now: Progress) -> None:
        if now.stage == stage:
            left[0] -= 1
            if not left[0]:
                raise StopError

    return progress


@pytest.mark.parametrize(("stage", "count"), [("tokens", 5), ("shards", 2)])
def test_a_stopped_run_is_continued(texts: Path, tmp_path: Path, vocabulary: Path, stage: str, count: int) -> None:
    run(texts, tmp_path / "whole", vocabulary)
    output = tmp_path / "c"
    with pytest.raises(StopError):
        run(texts, output, vocabulary, progress=stop_after(stage, count))
    with pytest.raises(DataError, match="not a finished corpus"):
        Corpus.open(output)
    # A part that a crash of the machine cut short is made again.
    part = output / ".partial" / "block-000002.safetensors"
    part.write_bytes(part.read_bytes()[:-10])
    (output / ".partial" / "block-000777.safetensors.tmp").write_text("left over")
    summary = run(texts, output, vocabulary)
    assert summary["resumed_blocks"] >= 4
    assert content(output) == content(tmp_path / "whole")


def test_other_settings_start_clean(texts: Path, tmp_path: Path, vocabulary: Path) -> None:
    output = tmp_path / "c"
    with pytest.raises(StopError):
        run(texts, output, vocabulary, progress=stop_after("shards", 2), shard_tokens=2000)
    (output / ".partial" / "mine.txt").write_text("mine")
    assert (output / "train-00001.safetensors").exists()
    summary = run(texts, output, vocabulary, shard_tokens=10**9)
    assert summary["resumed_blocks"] == 0
    assert not (output / "train-00001.safetensors").exists()
    assert [path.name for path in (output / ".partial").iterdir()] == ["mine.txt"]
    run(texts, tmp_path / "fresh", vocabulary, shard_tokens=10**9)
    assert content(output) == content(tmp_path / "fresh")


SCRIPT = """
import sys, time
import reader.prepare.documents as p
p.BLOCK_BYTES = 4000
def slow(now):
    print(now.stage, flush=True)
    time.sleep(0.05)
try:
    p.prepare([sys.argv[1] + "/a.txt", sys.argv[1] + "/*.jsonl"], sys.argv[2], sys.argv[3], workers=2, heldout=0.1,
              seed=3, shard_tokens=3000, progress=slow)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_processes(texts: Path, tmp_path: Path, vocabulary: Path, how: signal.Signals) -> None:
    run(texts, tmp_path / "whole", vocabulary)
    output = tmp_path / "c"
    command = [sys.executable, "-c", SCRIPT, str(texts), str(output), str(vocabulary)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    for _ in range(4):
        assert process.stdout.readline() == b"tokens\n"
    with pytest.raises(DataError, match="another preparation is writing there"):
        run(texts, output, vocabulary)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    assert b"Traceback" not in errors
    deadline = time.monotonic() + 20
    while any(_alive(int(child)) for child in children):
        assert time.monotonic() < deadline, "workers outlived their parent"
        time.sleep(0.05)
    assert not (output / "corpus.json").exists()
    summary = run(texts, output, vocabulary)
    assert summary["resumed_blocks"] >= 3
    assert content(output) == content(tmp_path / "whole")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_bad_input_is_reported_and_useless_input_refused(tmp_path: Path, vocabulary: Path) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"The river\nbad \xff\n\n\x01\x02\n\nbridge\n\x7f\n")
    (tmp_path / "empty.txt").write_bytes(b"")
    summary = prepare([str(tmp_path / "*.txt")], tmp_path / "c", vocabulary, workers=0, format="lines")
    reasons = {reason: entry["places"] for reason, entry in summary["skipped"].items()}
    assert reasons == {
        "empty file": [str(tmp_path / "empty.txt")],
        "line with undecodable bytes (not UTF-8)": [f"{bad}:2"],
        "sentence without tokens": [f"in the document at {bad}:4", f"in the document at {bad}:6"],
        "document without sentences": [f"{bad}:4"],
    }
    assert summary["sentences"] == 2
    assert Corpus.open(tmp_path / "c").skipped.to_dict() == summary["skipped"]
    assert any(f"{bad}:2" in line for line in summary["skipped_lines"])
    useless = tmp_path / "useless.jsonl"
    useless.write_text("{}\n")
    with pytest.raises(DataError, match=r"no usable documents(.|\n)*useless\.jsonl:1"):
        prepare([useless], tmp_path / "d", vocabulary)
    for settings, message in [
        ({"heldout": 1.0}, "heldout"),
        ({"workers": -1}, "workers"),
        ({"shard_tokens": 0}, "shard_tokens"),
        ({"segmenters": ["magic"]}, "magic"),
    ]:
        with pytest.raises(DataError, match=message):
            prepare([bad], tmp_path / "e", vocabulary, **settings)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="is a file"):
        prepare([bad], bad, vocabulary)
    assert not (tmp_path / "e").exists()


def test_many_pieces_need_wider_tokens(tmp_path: Path) -> None:
    vocabulary = tmp_path / "big.txt"
    write_vocab(vocabulary, [*SPECIALS, *(f"w{n}" for n in range(70_000)), "river"])
    (tmp_path / "a.txt").write_text("river w0")
    tokenizer: Tokenizer = load_tokenizer(vocabulary)
    prepare([tmp_path / "a.txt"], tmp_path / "c", tokenizer, workers=0)
    (shard,) = Corpus.open(tmp_path / "c").shards
    assert shard.tokens.dtype == np.int32
    assert shard.tokens.tolist() == [70_005, 5]
