"""Show the contents of a prepared corpus, a checkpoint or run, an exported model, or a vocabulary."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_paddle import option_kinds as kinds
from ernie_paddle.checkpoints.detect import foreign_layout
from ernie_paddle.cli import options as opt
from ernie_paddle.cli.prepare_pairs import label_counts
from propeller.errors import UserError
from reader import flags as F
from reader.corpora.corpus import CORPUS_FILE, DOCUMENTS, PAIRS, Corpus, read_corpus_info
from reader.corpora.kinds import KINDS, corpus_kind
from reader.corpora.pairs import PairCorpus, PairIndex
from reader.errors import DataError
from reader.prepare.statistics import entropy, unigram_counts
from reader.prepare.workspace import PARTIAL
from reader.report import SkipReport
from reader.tokenizers.base import CONFIG_FILE, Tokenizer
from reader.tokenizers.load import load_tokenizer

_WHOLES = (CORPUS_FILE, "manifest.json", "export.json", "config.json", CONFIG_FILE)
_ALL = 1 << 30  # tokens; more than any pair has
_NOTHING = "not a corpus, checkpoint, exported model or vocabulary"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    opt.argument(parser, "path", Path, "corpus, checkpoint, folder of a run, exported model, vocabulary or tokenizer")
    opt.option(parser, "--samples", kinds.count, 3, "number of decoded samples of a corpus to show")
    opt.flag(parser, "--parameters", False, "list every parameter of a checkpoint")


def run(args: argparse.Namespace) -> int:
    """Detect the kind of the path and print its description."""
    for line in describe(args.path, args.samples, args.parameters):
        print(line)
    return 0


def describe(path: Path, samples: int, all_parameters: bool) -> Iterator[str]:
    """The lines that describe the contents of `path`.

    Raises:
        UserError, DataError: The path holds nothing that ernie makes.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or directory")
    if (path / CORPUS_FILE).is_file():
        yield from describe_corpus(path, samples)
    elif (path / PARTIAL).is_dir():
        raise UserError(f"{path}: the corpus is unfinished; run the same `ernie prepare` command again to resume")
    elif path.is_file():
        yield from _describe_file(path)
    elif _is_tokenizer_folder(path):
        yield from describe_vocabulary(path)
    else:
        yield from describe_model(path, all_parameters)


def _describe_file(path: Path) -> Iterator[str]:
    """Describe a vocabulary; for other files, an error says what to inspect instead."""
    if path.suffix in (".safetensors", ".json", ".pdiparams"):
        if any((path.parent / name).is_file() for name in _WHOLES):
            raise UserError(f"{path}: is one of several files; inspect its folder: {path.parent}")
        raise UserError(f"{path}: {_NOTHING}")
    try:
        yield from describe_vocabulary(path)
    except DataError as error:
        raise UserError(f"{path}: {_NOTHING} (read as a vocabulary: {error})") from error


def _is_tokenizer_folder(path: Path) -> bool:
    has_tokenizer = (path / "tokenizer_config.json").is_file() and not (path / "config.json").is_file()
    return has_tokenizer and foreign_layout(path) is None


def describe_corpus(path: Path, samples: int) -> Iterator[str]:
    """Describe a corpus: counts, lengths, the share of [UNK], what was skipped, and some samples with their units."""
    info = read_corpus_info(path)
    tokenizer = load_tokenizer(path)
    kind = corpus_kind(path)
    if kind == PAIRS:
        yield from describe_pairs(path, info, tokenizer, samples)
        return
    if kind != DOCUMENTS:
        yield _headline(f"corpus of {KINDS[kind].holds}", path, info)
        yield from (f"{name}: {split['n_tokens']:,} tokens" for name, split in info["splits"].items())
        return
    yield _headline("corpus", path, info)
    yield f"  segmenters: {', '.join(info['segmenters']) or 'none (whole words)'}"
    if info["languages"]:
        yield f"  languages: {', '.join(info['languages'])}"
    for split in info["splits"]:
        corpus = Corpus.open(path, split)
        counts = unigram_counts(corpus, corpus.vocab_size)
        total = max(1, corpus.n_tokens)
        yield f"{split}: {corpus.n_documents:,} documents, {corpus.n_sentences:,} sentences, {corpus.n_tokens:,} tokens"
        lengths = [np.diff(shard.sentence_offsets) for shard in corpus.shards]
        if corpus.n_sentences:
            yield f"  tokens per sentence: {_spread(np.concatenate(lengths))}"
        yield f"  [UNK] {counts[tokenizer.vocab.unk] / total:.3%}   unigram entropy {entropy(counts):.3f} nats"
        yield f"  pieces used: {np.count_nonzero(counts):,} of {corpus.vocab_size:,}"
        marks = sum((_unit_counts(shard.flags) for shard in corpus.shards), np.zeros(3, np.int64))
        yield f"  words {marks[0]:,}   tokens in phrases {marks[1] / total:.1%}   in entities {marks[2] / total:.1%}"
    skipped = Corpus.open(path, next(iter(info["splits"]))).skipped
    yield f"skipped in preparation: {skipped.total:,}"
    yield from (f"  {line}" for line in skipped.lines())
    if samples:
        yield "samples (phrases in parentheses, entities in brackets):"
        yield from (f"  {line}" for line in sample_sentences(Corpus.open(path), tokenizer, samples))


def describe_pairs(path: Path, info: dict[str, Any], tokenizer: Tokenizer, samples: int) -> Iterator[str]:
    """Describe a corpus of pairs: labels, lengths, the share of [UNK], what was skipped, and some pairs."""
    yield _headline("corpus of labelled pairs", path, info)
    for split in info["splits"]:
        corpus = PairCorpus.open(path, split)
        yield f"{split}: {len(corpus):,} pairs, {corpus.n_tokens:,} tokens"
        sizes = np.concatenate([np.diff(shard.text_offsets).reshape(-1, 2) for shard in corpus.shards])
        for name, lengths in zip(("a", "b"), sizes.T, strict=True):
            yield f"  tokens of text {name}: {_spread(lengths)}"
        unknown = sum(np.count_nonzero(shard.tokens == tokenizer.vocab.unk) for shard in corpus.shards)
        yield f"  [UNK] {unknown / corpus.n_tokens:.3%}"
        counts = sum(
            (np.bincount(shard.labels, minlength=len(corpus.labels)) for shard in corpus.shards), np.zeros(1, np.int64)
        )
        yield f"  labels: {label_counts(corpus.labels, counts.tolist())}"
    skipped = SkipReport.from_dict(info["skipped"])
    yield f"skipped in preparation: {skipped.total:,}"
    yield from (f"  {line}" for line in skipped.lines())
    if samples:
        yield "samples (label: text a | text b):"
        index = PairIndex(PairCorpus.open(path), max_tokens=_ALL)
        for k in sorted({int(k) for k in np.linspace(0, len(index) - 1, samples)}):
            yield f"  {_pair_line(index, k, tokenizer)}"


def _pair_line(index: PairIndex, k: int, tokenizer: Tokenizer) -> str:
    pieces = [tokenizer.vocab.pieces[i] for i in index.sample(k).tokens]
    middle = index.sizes.item(k, 0)
    return f"{index.label_names[index.labels.item(k)]}: {' '.join(pieces[:middle])} | {' '.join(pieces[middle:])}"


def _headline(what: str, path: Path, info: dict[str, Any]) -> str:
    return (
        f"{what} {path}: format {info['format_version']}, {info['vocab_size']:,} pieces ({info['vocab_sha256'][:12]})"
    )


def sample_sentences(corpus: Corpus, tokenizer: Tokenizer, samples: int) -> Iterator[str]:
    """Yield sentences spread evenly over the corpus, with their units marked."""
    wanted = sorted({int(k) for k in np.linspace(0, max(0, corpus.n_sentences - 1), samples)})
    before = 0
    for shard in corpus.shards:
        for k in wanted:
            if before <= k < before + shard.n_sentences:
                begin, end = shard.sentence_offsets[k - before], shard.sentence_offsets[k - before + 1]
                yield mark_units(np.asarray(shard.tokens[begin:end]), np.asarray(shard.flags[begin:end]), tokenizer)
        before += shard.n_sentences


def mark_units(ids: NDArray[Any], flags: NDArray[np.uint8], tokenizer: Tokenizer) -> str:
    """Format a sentence as its pieces, with marked `(phrase units)` and `[entity units]`."""
    out: list[str] = []
    pieces = [tokenizer.vocab.pieces[i] for i in ids]
    starts = {name: F.unit_starts(flags, name) for name in ("phrase", "entity")}
    for i, piece in enumerate(pieces):
        last = i + 1 == len(pieces)
        for name, inside, left, right in (("phrase", F.IN_PHRASE, "(", ")"), ("entity", F.IN_ENTITY, "[", "]")):
            if flags[i] & inside:
                opens = i == 0 or bool(starts[name][i]) or not flags[i - 1] & inside
                closes = last or bool(starts[name][i + 1]) or not flags[i + 1] & inside
                piece = (left if opens else "") + piece + (right if closes else "")
        out.append(piece)
    return " ".join(out)


def describe_vocabulary(path: Path) -> Iterator[str]:
    """Describe a vocabulary: size, special pieces and settings."""
    tokenizer = load_tokenizer(path)
    vocab = tokenizer.vocab
    settings = {key: value for key, value in tokenizer.config().items() if isinstance(value, (str, int, bool))}
    yield f"vocabulary {path}: {vocab.size:,} pieces, SHA-256 {vocab.sha256[:12]}"
    yield "  " + "   ".join(
        f"{vocab.pieces[number]} {number}" for number in (vocab.pad, vocab.unk, vocab.cls, vocab.sep, vocab.mask)
    )
    yield "  " + "   ".join(f"{key} {value}" for key, value in settings.items() if "sha256" not in key)
    continuing = sum(piece.startswith("##") for piece in vocab.pieces)
    if continuing:
        yield f"  {continuing:,} pieces continue a word (##)"
    longest = sorted((p for p in vocab.pieces if not p.startswith("[")), key=len, reverse=True)[:5]
    yield f"  longest: {', '.join(longest)}"


def describe_model(path: Path, all_parameters: bool) -> Iterator[str]:
    """Describe a checkpoint (validity, step, parameters, configuration, task) or exported model (inputs, outputs)."""
    from ernie_paddle.checkpoints.model_dir import EXPORTED, NoModelError, open_model_dir
    from propeller.run import checkpoint
    from propeller.serving.export import EXPORT
    from propeller.serving.predictor import read_description

    is_export = any((path / name).is_file() for name in (EXPORT, EXPORTED))
    exported = read_description(path) if is_export else None  # checks the files' SHA-256
    try:
        model = open_model_dir(path)
    except NoModelError as error:
        raise UserError(f"{path}: {_NOTHING} ({error})") from error
    if exported is not None:
        yield f"exported model {model.path} (Paddle {exported['paddle']})"
        yield f"  valid: {len(exported['sha256'])} files match their SHA-256"
        for item in exported["inputs"]:
            yield f"  input {item['name']}: {item['dtype']} {['any' if n is None else n for n in item['shape']]}"
        yield f"  outputs: {', '.join(exported['outputs'])}"
    else:
        yield f"checkpoint {model.path}"
        if (model.path / checkpoint.MANIFEST).is_file():
            found = checkpoint.verify(model.path)
            size = sum((model.path / name).stat().st_size for name in found.names)
            yield f"  valid: {len(found.names)} files match their SHA-256 ({size / 1e6:.1f} MB); step {found.step:,}"
        yield from (f"  {line}" for line in describe_parameters(model.parameters(), all_parameters))
    if model.task_settings is not None:
        yield f"  task: {json.dumps(model.task_settings, ensure_ascii=False)}"
    yield f"  vocabulary: {model.tokenizer.vocab.size:,} pieces"
    yield f"  configuration: {json.dumps(model.config.to_dict())}"


def describe_parameters(arrays: dict[str, NDArray[Any]], every: bool) -> Iterator[str]:
    """A table of parameters: each one, or summed by the first parts of their names (all layers together)."""
    groups: dict[str, list[NDArray[Any]]] = {}
    for name in sorted(arrays):
        parts = name.split(".")
        group = name if every else ".".join(parts[:2] if parts[0] in ("ernie", "cls") else parts[:1])
        groups.setdefault(group, []).append(arrays[name])
    total = sum(array.size for array in arrays.values())
    yield f"{total:,} parameters in {len(arrays)} arrays"
    for group, members in groups.items():
        size = sum(array.size for array in members)
        norm = float(np.sqrt(sum(float(np.square(array, dtype=np.float64).sum()) for array in members)))
        shape = str(list(members[0].shape)) if every else f"{len(members)} arrays"
        yield f"  {group:<58} {shape:>14} {size:>14,}   norm {norm:.4g}"


def _spread(lengths: NDArray[Any]) -> str:
    quantiles = np.quantile(lengths, [0.5, 0.95])
    return (
        f"mean {lengths.mean():.1f}, median {quantiles[0]:.0f}, 95% up to {quantiles[1]:.0f}, longest {lengths.max()}"
    )


def _unit_counts(flags: NDArray[np.uint8]) -> NDArray[np.int64]:
    bits = (F.WORD_START, F.IN_PHRASE, F.IN_ENTITY)
    return np.array([np.count_nonzero(flags & bit) for bit in bits], np.int64)
