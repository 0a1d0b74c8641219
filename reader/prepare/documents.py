"""Preparation of a corpus: text files in, immutable shards out, by several processes.

    input files → blocks of whole documents → (workers) parts in `<output>/.partial` → shards → corpus.json

Blocks depend on the input alone, parts on blocks, and shards on parts in the order of the text: the result is the
same for any number of workers. A killed run leaves its finished parts, and the same command resumes with them; a
command with other inputs or settings starts anew. corpus.json is written last, so that no unfinished corpus has one.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from reader.corpora.corpus import FORMAT_VERSION
from reader.errors import DataError
from reader.prepare.document_parts import SPLITS, PartSettings, PartTask, draw_limit, read_summary, start_worker
from reader.prepare.job import SHARD_TOKENS, Job, Made, Progress, carry_out, check_heldout
from reader.prepare.merge import Summary, merge_languages, merge_split, shard_groups
from reader.prepare.workspace import Workspace
from reader.report import SkipReport, printable
from reader.text.blocks import BLOCK_BYTES, Source, find_sources, scan_blocks, text_size
from reader.text.document_limits import DocumentLimits
from reader.text.documents import sample_sentences
from reader.tokenizers.base import Tokenizer
from reader.tokenizers.load import load_tokenizer
from reader.units.phrases import PHRASES_FILE, PhraseCounter
from reader.units.segmenters import describe_segmenters, make_segmenters
from reader.units.words import SentenceWords
from reader.workers.pool import run_tasks

PHRASE_BYTES = 1 << 26
"""Bytes of text on which statistical phrases are counted, approximately; they are spread evenly over the input."""
_SENTENCES_AT_ONCE = 1 << 13
_LONG_DOCUMENT = 300  # sentences; a file that is one such document probably lacks blank lines


def prepare(
    inputs: Sequence[str | Path],
    output_dir: str | Path,
    tokenizer: Tokenizer | str | Path,
    *,
    format: str = "auto",
    segmenters: Sequence[str] = (),
    workers: int | None = None,
    heldout: float = 0.0,
    seed: int = 0,
    language: str | None = None,
    shard_tokens: int = SHARD_TOKENS,
    document_tokens: int | None = None,
    min_words: int | None = None,
    min_sentences: int | None = None,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Tokenises text files into a corpus folder that `reader.corpora.corpus.Corpus` opens.

    Args:
        inputs: files or glob patterns; plain text or JSON lines, plain or gzip (`reader.text.documents.parse_block`).
        output_dir: folder of the corpus, created if it is missing. Files in it that other programs wrote are kept.
        tokenizer: a tokenizer, or a path that `load_tokenizer` takes.
        format: "lines", "paragraphs", "jsonl", or "auto" (by name and content of each file).
        segmenters: names of segmenters, see `reader.units.segmenters`.
        workers: number of worker processes; 0 works in this process; None for one per core, or 0 for little text.
        heldout: fraction of the documents that go to the split "heldout", chosen by a hash of seed, file and line; at
            least one document is held out if this is above 0 and there are two or more. In plain text a blank line
            separates documents.
        seed: seed of that choice.
        language: language of documents that do not name their own.
        shard_tokens: approximate number of tokens in a shard.
        document_tokens: documents of more tokens are cut at ends of sentences into documents of at most about this many
            tokens, each of which may be held out by itself; None keeps documents whole.
        min_words: documents of fewer words are skipped, before documents are cut; None skips none.
        min_sentences: documents of fewer sentences are skipped as well; None skips none.
        overwrite: replace a finished corpus made with other settings.
        progress: called from time to time.

    Returns:
        A summary: documents, sentences, tokens, splits (n_… and unk_rate of each split that has documents), notes
        (lines about results that may surprise), skipped and skipped_lines, bytes, seconds, phrases, languages, workers,
        resumed_blocks, already_there, path.

    Raises:
        DataError: the input has nothing usable, all documents are held out, a setting or a file is unusable, the folder
            holds another corpus, another preparation is running in the folder, or a worker died.
    """
    limits = {"document_tokens": document_tokens, "min_words": min_words, "min_sentences": min_sentences}
    _check_settings(heldout, workers, {"shard_tokens": shard_tokens, **limits})
    loaded = load_tokenizer(tokenizer) if isinstance(tokenizer, (str, Path)) else tokenizer
    report = SkipReport()
    sources = find_sources(inputs, format, report)
    specs = tuple(spec for spec in segmenters if spec != "word")
    make_segmenters([spec for spec in specs if spec != "phrases"], loaded, None)
    settings = {
        "format_version": FORMAT_VERSION,
        "block_bytes": BLOCK_BYTES,
        "shard_tokens": shard_tokens,
        "tokenizer": loaded.config(),
        "segmenters": describe_segmenters(specs),
        "heldout": heldout,
        "seed": seed,
        "language": language,
        # Limits that are not set are not listed, so that corpora from before there were limits are recognised.
        **{name: limit for name, limit in limits.items() if limit is not None},
    }
    job = Job(Path(output_dir), loaded, sources, settings, progress or (lambda _: None), limits, report)
    return carry_out(job, lambda space: _run(job, space, specs, workers), overwrite=overwrite)


def _run(job: Job, space: Workspace, segmenters: tuple[str, ...], workers: int | None) -> Made:
    """Makes all files but corpus.json; the result has the number of blocks that an earlier run had finished."""
    total = sum(text_size(source.path) for source in job.sources)
    count = _default_workers(total) if workers is None else workers
    tokenizer = space.folder / "tokenizer"
    kept = [tokenizer / name for name in job.tokenizer.save(tokenizer)]
    phrases = None
    n_phrases = 0
    if "phrases" in segmenters:
        phrases = space.folder / PHRASES_FILE
        n_phrases = _count_phrases(job, phrases, total)
        kept.append(phrases)
    part_settings = PartSettings(
        folder=space.folder,
        tokenizer=tokenizer,
        segmenters=segmenters,
        phrases=phrases,
        heldout_below=draw_limit(job.settings["heldout"]),
        seed=job.settings["seed"],
        language=job.settings["language"],
        limits=DocumentLimits(
            job.settings.get("document_tokens"), job.settings.get("min_words"), job.settings.get("min_sentences")
        ),
    )
    summaries, resumed = _make_parts(job, part_settings, count, total)
    notes = _settle_heldout(job, part_settings, summaries)
    summary = _summarise(summaries, job.report)
    summary["notes"] = notes + _one_document_files(job.sources, summaries)
    if "train" not in summary["splits"]:
        space.remove()
        if not summary["documents"]:
            raise DataError("\n".join(["no usable documents in the input:", *job.report.lines()]))
        raise DataError(
            f"all {summary['documents']} documents were drawn for the held-out split, and none is left to train on: "
            f"take a smaller heldout than {job.settings['heldout']} or another seed, or give more documents (in plain "
            "text a blank line separates documents)"
        )
    summary.update(phrases=n_phrases, languages=merge_languages(summaries), segmenters=list(segmenters))
    groups = {split: shard_groups(summaries, split, job.settings["shard_tokens"]) for split in summary["splits"]}
    space.announce({split: len(group) for split, group in groups.items()}, kept)
    _merge(job, space.folder, groups, summary)
    space.keep(kept)
    info = {"languages": summary["languages"], "segmenters": job.settings["segmenters"]}
    return Made(summary, info, {"resumed_blocks": resumed, "workers": count})


def _check_settings(heldout: float, workers: int | None, sizes: dict[str, int | None]) -> None:
    check_heldout(heldout, "documents")
    if workers is not None and workers < 0:
        raise DataError(f"workers must be 0 (work in this process) or more, not {workers}")
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise DataError(f"{name} must be 1 or more, not {size}")


def _default_workers(total: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # For less text, starting processes takes longer than the work.
    return 0 if cores == 1 or total < 2 * BLOCK_BYTES else min(cores, math.ceil(total / BLOCK_BYTES))


def _tasks(sources: Sequence[Source], report: SkipReport) -> Iterator[PartTask]:
    number = 0
    for source in sources:
        for block in scan_blocks(source, BLOCK_BYTES, report):
            yield PartTask(number, block)
            number += 1


def _count_phrases(job: Job, file: Path, total: int) -> int:
    """Makes phrases.tsv unless an earlier run made it; returns the number of phrases."""
    if not file.exists():
        counter = PhraseCounter(job.tokenizer)
        for done, texts in sample_sentences(job.sources, PHRASE_BYTES):
            for begin in range(0, len(texts), _SENTENCES_AT_ONCE):
                batch = texts[begin : begin + _SENTENCES_AT_ONCE]
                counter.add(SentenceWords.of(job.tokenizer.encode_batch(batch), batch))
            job.progress(Progress("phrases", done, max(total, done), "bytes"))
        aside = file.with_name(file.name + ".tmp")
        counter.write(aside)
        os.replace(aside, file)
    with file.open("rb") as stream:
        return sum(1 for _ in stream) - 1


def _make_parts(job: Job, settings: PartSettings, workers: int, total: int) -> tuple[list[dict[str, Any]], int]:
    """The summaries of all parts in order, and the number of parts that an earlier run had made."""
    summaries: dict[int, dict[str, Any]] = {}
    resumed = done = 0

    def missing() -> Iterator[PartTask]:
        nonlocal resumed, done
        for task in _tasks(job.sources, job.report):
            summary = read_summary(settings.folder, task)
            if summary is None:
                yield task
            else:
                summaries[task.number] = summary
                resumed += 1
                done += summary["bytes"]

    with closing(run_tasks(start_worker, settings, missing(), workers)) as results:
        for summary in results:
            summaries[summary["number"]] = summary
            done += summary["bytes"]
            job.progress(Progress("tokens", done, max(total, done), "bytes"))
    return [summaries[number] for number in range(len(summaries))], resumed


def _documents(summaries: Iterable[Summary], splits: Sequence[str] = SPLITS) -> int:
    return sum(int(summary["splits"][split]["n_documents"]) for summary in summaries for split in splits)


def _settle_heldout(job: Job, settings: PartSettings, summaries: list[dict[str, Any]]) -> list[str]:
    """Makes one part again if chance held out no document, or the only document; returns notes about that.

    The part is chosen by the draws alone. A run that is killed after this finds the new part when it is resumed.
    """
    documents, drawn = _documents(summaries), _documents(summaries, ["heldout"])
    if not settings.heldout_below or not documents:
        return []
    lowest, number = min((s["lowest_draw"], s["number"]) for s in summaries if s["lowest_draw"] is not None)
    if documents == 1:
        if drawn:
            _make_again(job, replace(settings, heldout_below=0), summaries, number)
        return ["nothing is held out: the whole input is one document (in plain text a blank line separates documents)"]
    if not drawn:
        _make_again(job, replace(settings, heldout_below=lowest + 1), summaries, number)
    return []


def _make_again(job: Job, settings: PartSettings, summaries: list[dict[str, Any]], number: int) -> None:
    """Replaces one part by a part with another choice of held-out documents."""
    task = next(task for task in _tasks(job.sources, SkipReport()) if task.number == number)
    summaries[number] = start_worker(settings)(task)


def _one_document_files(sources: Sequence[Source], summaries: Sequence[Summary]) -> list[str]:
    """A note about plain-text files that are a single long document each; no note if there are none."""
    documents = [0] * len(sources)
    sentences = [0] * len(sources)
    for summary in summaries:
        documents[summary["source"]] += _documents([summary])
        sentences[summary["source"]] += sum(split["n_sentences"] for split in summary["splits"].values())
    found = [
        f"{printable(str(source.path))} ({count:,} sentences)"
        for source, number, count in zip(sources, documents, sentences, strict=True)
        if number == 1 and count >= _LONG_DOCUMENT and source.format != "jsonl"
    ]
    if not found:
        return []
    more = f" and {len(found) - 3:,} more" if len(found) > 3 else ""
    what = "this file is" if len(found) == 1 else f"each of these {len(found):,} files is"
    return [f"{what} one single document, as a blank line separates documents: {', '.join(found[:3])}{more}"]


def _summarise(summaries: Sequence[dict[str, Any]], report: SkipReport) -> dict[str, Any]:
    splits: dict[str, dict[str, Any]] = {}
    for split in SPLITS:
        if not _documents(summaries, [split]):
            continue
        parts = [summary["splits"][split] for summary in summaries]
        total: dict[str, Any] = {
            key: sum(part[key] for part in parts) for key in ("n_documents", "n_sentences", "n_tokens", "n_unknown")
        }
        total["unk_rate"] = total["n_unknown"] / max(1, total["n_tokens"])
        splits[split] = total
    for summary in summaries:
        report.merge(SkipReport.from_dict(summary["skipped"]))
    return {
        "documents": sum(split["n_documents"] for split in splits.values()),
        "sentences": sum(split["n_sentences"] for split in splits.values()),
        "tokens": sum(split["n_tokens"] for split in splits.values()),
        "splits": splits,
        "bytes": sum(summary["bytes"] for summary in summaries),
        "skipped": report.to_dict(),
        "skipped_lines": report.lines(),
    }


def _merge(job: Job, folder: Path, groups: dict[str, list[list[Summary]]], summary: dict[str, Any]) -> None:
    """Writes all shards, and adds their names to the summary."""
    total = sum(map(len, groups.values()))
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        job.progress(Progress("shards", done, total, "shards"))

    vocab = job.tokenizer.vocab
    for split, group in groups.items():
        summary["splits"][split]["shards"] = merge_split(
            folder, job.output, split, group, summary["languages"], vocab.sha256, vocab.size, step
        )
