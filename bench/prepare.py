"""Speed of turning text into shards: tokenization against the `tokenizers` library, two workers against one; memory.

Run it with `python -m bench.prepare`. Figures are ratios within one run; both sides alternate on the same text, so that
other load on the machine affects them equally. Without --text, the text is the manual in `pydoc_data.topics`, repeated,
with every 25th word replaced by an invented one: as in real text, the vocabulary grows with the length.
"""

from __future__ import annotations

import argparse
import pydoc_data.topics
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from reader.prepare.documents import prepare
from reader.prepare.vocabulary import train_vocab
from reader.text.documents import read_documents
from reader.tokenizers.load import load_tokenizer
from reader.tokenizers.wordpiece import WordPieceTokenizer, single_threaded

MEGABYTE = 1_000_000
_EVERY = 25
_TOKENISED = 20 * MEGABYTE
_SYLLABLES = ["ba", "cor", "den", "fi", "gul", "har", "is", "jo", "ket", "lum", "mar", "nor", "op", "pel", "qua", "ris"]
# VmHWM is read, because the kernel's ru_maxrss of a new program includes what its parent held when it started it.
_CHILD = """
import json, multiprocessing, sys, threading
from reader.prepare.documents import prepare

def peak(pid):
    try:
        lines = open(f"/proc/{pid}/status").read().split("\\n")
    except OSError:
        return 0
    return max([int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")], default=0)

worker, stop = [0], threading.Event()
def watch():
    while not stop.wait(0.05):
        worker[0] = max([worker[0], *(peak(child.pid) for child in multiprocessing.active_children())])
thread = threading.Thread(target=watch)
thread.start()
prepare([sys.argv[1]], sys.argv[2], sys.argv[3], format="lines", workers=int(sys.argv[4]))
stop.set()
thread.join()
print(json.dumps([peak("self"), worker[0]]))
"""


def main(argv: list[str] | None = None) -> None:
    """Print a Markdown table of three measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, help="a text file or JSON lines to use instead (default: pydoc_data)")
    parser.add_argument("--vocab", type=Path, help="a vocabulary (default: 8,000 pieces trained on pydoc_data)")
    parser.add_argument(
        "--megabytes", type=int, default=120, help="megabytes of text for the scaling measurement (default: 120)"
    )
    parser.add_argument("--large", type=int, default=200, help="megabytes of the larger memory run (default: 200)")
    parser.add_argument("--rounds", type=int, default=2, help="runs for each number of workers (default: 2)")
    options = parser.parse_args(argv)
    single_threaded()
    with tempfile.TemporaryDirectory(prefix="bench-prepare-") as folder:
        print("| measurement | value | goal |")
        print("|---|---|---|")
        for name, value, goal in measure(Path(folder), options):
            print(f"| {name} | {value} | {goal} |", flush=True)


def measure(folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """Rows of the table."""
    small = folder / "small.txt"
    if options.text is not None:
        write_sentences(options.text, small, options.megabytes * MEGABYTE)
    else:
        small.write_text(manual_text(options.megabytes * MEGABYTE, seed=0), encoding="utf-8")
    vocab = options.vocab or folder / "vocab"
    if options.vocab is None:
        train_vocab([small], vocab, 8000, limit_bytes=4 * MEGABYTE)
    yield from tokenising(small, vocab)
    yield from scaling(folder, small, vocab, options.rounds)
    yield from memory(folder, vocab, options.large)


def tokenising(text: Path, vocab: Path) -> Iterator[tuple[str, str, str]]:
    """Ours against the library's `encode_batch` and `encode_batch_fast`, one thread each, alternately."""
    tokenizer = load_tokenizer(vocab)
    assert isinstance(tokenizer, WordPieceTokenizer)
    sentences = [line for line in text.read_text(encoding="utf-8").split("\n") if line]
    names = ("ours", "encode_batch", "encode_batch_fast")
    seconds = dict.fromkeys(names, 0.0)
    size = different = 0
    for number, begin in enumerate(range(0, len(sentences), 8192)):
        if size > _TOKENISED:
            break
        part = sentences[begin : begin + 8192]
        size += sum(len(sentence.encode("utf-8")) for sentence in part)
        ids: dict[str, list[int]] = {}
        for name in names[number % 3 :] + names[: number % 3]:
            start = time.perf_counter()
            if name == "ours":
                batch = tokenizer.encode_batch(part)
                seconds[name] += time.perf_counter() - start
                ids[name] = batch.ids.tolist()
            else:
                encodings = getattr(tokenizer.library, name)(part, add_special_tokens=False)
                seconds[name] += time.perf_counter() - start
                ids[name] = [token for encoding in encodings for token in encoding.ids]
        different += len({tuple(found) for found in ids.values()}) > 1
    rates = {name: size / MEGABYTE / seconds[name] for name in names}
    yield "text tokenised", f"{size / MEGABYTE:.1f} MB", ""
    for name in names:
        yield f"{name}, one thread", f"{rates[name]:.2f} MB/s", ""
    yield "ours : encode_batch", f"{rates['ours'] / rates['encode_batch']:.2f}", "at least 2"
    yield "ours : encode_batch_fast", f"{rates['ours'] / rates['encode_batch_fast']:.2f}", ""
    yield "batches of 8,192 sentences with other ids", str(different), "0"


def scaling(folder: Path, text: Path, vocab: Path, rounds: int) -> Iterator[tuple[str, str, str]]:
    """The whole preparation with one and with two worker processes, alternately; the best of each counts."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for number in range(rounds):
        for workers in (1, 2) if number % 2 == 0 else (2, 1):
            output = folder / f"corpus-{number}-{workers}"
            seconds[workers].append(prepare([text], output, vocab, format="lines", workers=workers)["seconds"])
    size = text.stat().st_size / MEGABYTE
    for workers in (1, 2):
        best = min(seconds[workers])
        yield f"prepare, {workers} worker(s), from start to end", f"{best:.2f} s ({size / best:.2f} MB/s)", ""
    yield "1 worker : 2 workers", f"{min(seconds[1]) / min(seconds[2]):.2f}", "at least 1.8"


def memory(folder: Path, vocab: Path, large: int) -> Iterator[tuple[str, str, str]]:
    """Peak memory of the parent and of its largest worker."""
    peaks = []
    for size in (10, large):
        text = folder / f"memory-{size}.txt"
        with text.open("w", encoding="utf-8") as file:
            for seed in range(0, size, 10):
                file.write(manual_text(min(10, size - seed) * MEGABYTE, seed))
        command = [sys.executable, "-c", _CHILD, str(text), str(folder / f"memory-{size}"), str(vocab), "2"]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
        parent, worker = (float(number) for number in answer.stdout.strip("[]\n ").split(","))
        peaks.append((parent, worker))
        yield f"peak memory at {size} MB of text: parent, worker", f"{parent:.0f} MiB, {worker:.0f} MiB", ""
        text.unlink()
    ratios = [after / before for before, after in zip(*peaks, strict=True)]
    yield f"peak memory {large} MB : 10 MB (parent, worker)", ", ".join(f"{r:.2f}" for r in ratios), "about 1"


def write_sentences(source: Path, target: Path, limit: int) -> None:
    """Write the sentences of any input, one per line, up to a size."""
    written = 0
    with target.open("w", encoding="utf-8") as file:
        for document in read_documents([source]):
            block = "\n".join(document.sentences) + "\n\n"
            file.write(block)
            written += len(block.encode("utf-8"))
            if written >= limit:
                return


def manual_text(size: int, seed: int) -> str:
    """About `size` bytes of the manual, line by line, with invented words that depend on the seed."""
    rng = np.random.default_rng(seed)
    topics = pydoc_data.topics.topics.values()
    tokens = re.split("( |\n)", "\n\n".join(re.sub(r"\n(?=[^\n])", " ", re.sub(" +", " ", topic)) for topic in topics))
    places = [place for place in range(0, len(tokens), 2) if tokens[place].isalpha()][::_EVERY]
    parts: list[str] = []
    written = 0
    while written < size:
        # Word k is as frequent as 1/k, as in real text.
        ranks = np.minimum(rng.zipf(1.2, len(places)), 1 << 24).tolist()
        for place, rank in zip(places, ranks, strict=True):
            tokens[place] = _invent(rank * 31 + seed)
        parts.append("".join(tokens) + "\n\n")
        written += len(parts[-1])
    return "".join(parts)[:size]


def _invent(number: int) -> str:
    syllables = []
    while number:
        number, digit = divmod(number, len(_SYLLABLES))
        syllables.append(_SYLLABLES[digit])
    return "".join(syllables)


if __name__ == "__main__":
    main()
