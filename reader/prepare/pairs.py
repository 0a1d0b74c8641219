"""Preparation of labelled pairs: tables in, immutable shards out (see reader.corpora.pairs).

    tables → rows → parts in `<output>/.partial` → shards → corpus.json

One process reads the tables as a stream, since pairs are little text compared with a corpus of documents. The numbers
of the labels and the held-out rows are known only at the end, so parts hold every row with its draw, and each shard
takes its own rows from the parts. A killed run leaves no corpus.json; the same command starts anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader.corpora.corpus import FORMAT_VERSION, PAIRS, shard_metadata, shard_name
from reader.corpora.pairs import pair_layout
from reader.errors import DataError
from reader.files.tensorfile import TensorFileWriter
from reader.prepare.document_parts import SPLITS, draw_limit
from reader.prepare.job import SHARD_TOKENS, Job, Made, Progress, carry_out, check_heldout
from reader.prepare.merge import Summary, shard_groups
from reader.prepare.pair_parts import PART_TOKENS, PairColumns, make_parts, read_part
from reader.prepare.workspace import Workspace
from reader.report import SkipReport
from reader.tables.cells import sorted_labels
from reader.tables.table import FORMATS, table_format
from reader.text.blocks import Source, find_files, text_size
from reader.tokenizers.base import Tokenizer
from reader.tokenizers.load import load_tokenizer


def prepare_pairs(
    inputs: Sequence[str | Path],
    output_dir: str | Path,
    tokenizer: Tokenizer | str | Path,
    columns: PairColumns,
    *,
    format: str = "auto",
    heldout: float = 0.0,
    seed: int = 0,
    shard_tokens: int = SHARD_TOKENS,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Tokenises tables of labelled pairs into a folder that `reader.corpora.pairs.PairCorpus` opens.

    Args:
        inputs: TSV, CSV or JSON lines, plain or gzip; files or glob patterns. TSV and CSV need a header.
        output_dir: folder of the corpus, created if it is missing. Files in it that other programs wrote are kept.
        tokenizer: a tokenizer, or a path that `load_tokenizer` takes.
        columns: names of columns and labels.
        format: one of `reader.tables.table.FORMATS`; "auto" goes by the extension.
        heldout: fraction of the groups of rows that go to the split "heldout", chosen by a hash of seed and group; at
            least one group is held out if this is above 0 and there are two or more.
        seed: seed of that choice.
        shard_tokens: approximate number of tokens in a shard.
        overwrite: replace a finished corpus made with other settings.
        progress: called from time to time, with the stages "tokens" and "shards".

    Returns:
        A summary: pairs, tokens, labels, splits (n_documents: its pairs, n_tokens, unk_rate, labels: pairs of each
        label), notes, skipped and skipped_lines, bytes, seconds, already_there, path.

    Raises:
        DataError: a table or a column is missing or unusable, there are no usable rows, all rows are held out, the
            folder holds another corpus, or another preparation is running in the folder.
    """
    check_heldout(heldout, "rows")
    loaded = load_tokenizer(tokenizer) if isinstance(tokenizer, (str, Path)) else tokenizer
    report = SkipReport()
    sources = _sources(inputs, format, report)
    settings = {
        "kind": PAIRS,
        "format_version": FORMAT_VERSION,
        "part_tokens": PART_TOKENS,
        "shard_tokens": shard_tokens,
        "tokenizer": loaded.config(),
        "text_a": columns.text_a,
        "text_b": columns.text_b,
        "label": columns.label,
        "group": columns.group,
        "labels": None if columns.labels is None else list(columns.labels.items()),
        "heldout": heldout,
        "seed": seed,
    }
    job = Job(Path(output_dir), loaded, sources, settings, progress or (lambda _: None), report=report)

    def make(space: Workspace) -> Made:
        try:
            summary = _run(job, space, columns)
        except DataError:
            space.remove()
            raise
        return Made(summary, {"kind": PAIRS, "labels": summary["labels"]})

    return carry_out(job, make, overwrite=overwrite)


def _sources(inputs: Sequence[str | Path], format: str, report: SkipReport) -> list[Source]:
    if format not in FORMATS:
        raise DataError(f"format {format!r} is not known; use one of {', '.join(FORMATS)}")
    return [
        Source(path, number, table_format(path) if format == "auto" else format)
        for number, path in enumerate(find_files(inputs, report))
    ]


def _run(job: Job, space: Workspace, columns: PairColumns) -> dict[str, Any]:
    """Makes all files but corpus.json; returns the summary."""
    tokenizer = space.folder / "tokenizer"
    kept = [tokenizer / name for name in job.tokenizer.save(tokenizer)]

    def tokenised(pairs: int) -> None:
        job.progress(Progress("tokens", pairs, 0, "pairs"))

    parts, found = make_parts(
        space.folder, job.sources, columns, job.tokenizer, job.settings["seed"], job.report, tokenised
    )
    if not parts:
        raise DataError("\n".join(["no usable rows in the input:", *job.report.lines()]))
    limit, notes = _settle_heldout(space.folder, parts, job.settings["heldout"])
    unknown = job.tokenizer.vocab.unk
    summaries = [_describe_part(space.folder, number, limit, unknown, len(found)) for number in range(parts)]
    totals = {
        split: {name: sum(s["splits"][split][name] for s in summaries) for name in summaries[0]["splits"][split]}
        for split in SPLITS
    }
    counts = {split: dict(zip(found, total.pop("labels").tolist(), strict=True)) for split, total in totals.items()}
    labels = found
    if columns.labels is None:  # all rows of a label may have turned out to be unusable
        labels = sorted_labels(name for name in found if any(count[name] for count in counts.values()))
    renumber = np.array([labels.index(name) if name in labels else -1 for name in found], np.int32)
    splits: dict[str, dict[str, Any]] = {
        split: {
            **total,
            "unk_rate": total["n_unknown"] / total["n_tokens"],
            "labels": [counts[split][name] for name in labels],
        }
        for split, total in totals.items()
        if total["n_documents"]
    }
    groups = {split: shard_groups(summaries, split, job.settings["shard_tokens"]) for split in splits}
    space.announce({split: len(group) for split, group in groups.items()}, kept)
    total_shards, done = sum(map(len, groups.values())), 0
    for split, group in groups.items():
        for number, shard in enumerate(group):
            _write_shard(job, space.folder, split, number, shard, limit, renumber)
            done += 1
            job.progress(Progress("shards", done, total_shards, "shards"))
        splits[split]["shards"] = [shard_name(split, number) for number in range(len(group))]
    space.keep(kept)
    return {
        "pairs": sum(split["n_documents"] for split in splits.values()),
        "tokens": sum(split["n_tokens"] for split in splits.values()),
        "labels": labels,
        "splits": splits,
        "notes": notes,
        "bytes": sum(text_size(source.path) for source in job.sources),
        "skipped": job.report.to_dict(),
        "skipped_lines": job.report.lines(),
    }


def _settle_heldout(folder: Path, parts: int, heldout: float) -> tuple[int, list[str]]:
    """The draw below which a row is held out, and notes; of several groups at least one is held out and one is not."""
    limit = draw_limit(heldout)
    draws = np.unique(np.concatenate([np.unique(read_part(folder, number)["draws"]) for number in range(parts)]))
    if not limit:
        return 0, []
    if len(draws) == 1:
        return 0, ["nothing is held out: all rows belong to one group"]
    if int(draws[-1]) < limit:
        raise DataError(
            f"all {len(draws)} groups of rows were drawn for the held-out split, and none is left to train on: take a "
            f"smaller heldout than {heldout} or another seed, or give more rows"
        )
    return max(limit, int(draws[0]) + 1), []


def _chosen(part: Mapping[str, NDArray[Any]], split: str, limit: int) -> NDArray[np.bool_]:
    """bool [R]: the rows of a part that belong to a split."""
    below: NDArray[np.bool_] = part["draws"] < np.uint64(limit)
    return below if split == "heldout" else ~below


def _describe_part(folder: Path, number: int, limit: int, unknown: int, n_labels: int) -> dict[str, Any]:
    """The counts of each split's rows in a part, under the names of corpus.json."""
    part, splits = read_part(folder, number), {}
    sizes = part["sizes"].reshape(-1, 2).sum(axis=1)
    for split in SPLITS:
        chosen = _chosen(part, split, limit)
        unknowns = np.repeat(chosen, sizes) & (part["tokens"] == unknown)
        splits[split] = {
            "n_documents": int(chosen.sum()),
            "n_sentences": 2 * int(chosen.sum()),
            "n_tokens": int(sizes[chosen].sum()),
            "n_unknown": int(unknowns.sum()),
            "labels": np.bincount(part["labels"][chosen], minlength=n_labels),
        }
    return {"number": number, "splits": splits}


def _write_shard(
    job: Job, folder: Path, split: str, number: int, parts: Sequence[Summary], limit: int, renumber: NDArray[np.int32]
) -> None:
    """Writes one shard from its parts; `renumber` maps the number of a label in the parts to its final number."""
    totals = {name: sum(part["splits"][split][name] for part in parts) for name in ("n_documents", "n_tokens")}
    layout = pair_layout(job.tokenizer.vocab.size, totals["n_documents"], totals["n_tokens"])
    metadata = shard_metadata(split, job.tokenizer.vocab.sha256, job.tokenizer.vocab.size)

    def pieces(name: str) -> Iterator[NDArray[Any]]:
        base = 0
        if name == "text_offsets":
            yield np.zeros(1, np.int64)
        for summary in parts:
            part = read_part(folder, summary["number"])
            chosen = _chosen(part, split, limit)
            texts = np.repeat(chosen, 2)
            if name == "text_offsets":
                ends = np.cumsum(part["sizes"][texts]) + base
                base = int(ends[-1])
                yield ends
            elif name == "labels":
                yield renumber[part["labels"][chosen]]
            else:
                yield part[name][np.repeat(texts, part["sizes"])]

    with TensorFileWriter(job.output / shard_name(split, number), layout, metadata) as writer:
        for name in layout:
            writer.write(name, pieces(name))
