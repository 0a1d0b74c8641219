"""The steps that preparations of all kinds of corpora share.

    inputs → (the kind's own work, inside a locked workspace) → shards → corpus.json, last

The same command resumes an unfinished preparation and recognises a finished one; other commands are refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reader.corpora.corpus import write_corpus_info
from reader.errors import DataError
from reader.prepare.workspace import Workspace, fingerprint_of, look_for_finished
from reader.report import SkipReport
from reader.text.blocks import Source
from reader.tokenizers.base import Tokenizer
from reader.workers.pool import describe_os_error

SHARD_TOKENS = 1 << 26


@dataclass(frozen=True)
class Progress:
    """The progress of a preparation: `stage` is phrases, tokens or shards; `total` is an estimate for compressed
    files, and 0 where it is not known."""

    stage: str
    done: int
    total: int
    unit: str


@dataclass(frozen=True)
class Job:
    """One preparation.

    Attributes:
        output: folder of the corpus.
        tokenizer: tokenizer of the texts; its files are copied into the corpus.
        sources: the input files.
        settings: all other settings that determine the result, as JSON-able data.
        progress: called from time to time.
        unset: further settings that have their defaults, for the comparison with the settings of another corpus.
        report: counts skipped input.
    """

    output: Path
    tokenizer: Tokenizer
    sources: Sequence[Source]
    settings: dict[str, Any]
    progress: Callable[[Progress], None]
    unset: Mapping[str, Any] = field(default_factory=dict)
    report: SkipReport = field(default_factory=SkipReport)


@dataclass(frozen=True)
class Made:
    """The result of making the shards of a corpus.

    Attributes:
        summary: results with at least `splits`, which are written to corpus.json and returned.
        info: further entries of corpus.json that the kind of corpus needs.
        run: results about this run alone, which are returned, but not written.
    """

    summary: dict[str, Any]
    info: Mapping[str, Any]
    run: Mapping[str, Any] = field(default_factory=dict)


def check_heldout(heldout: float, units: str) -> None:
    """Refuse an impossible share of held-out text.

    Raises:
        DataError: `heldout` is below 0, or not below 1.
    """
    if not (0.0 <= heldout < 1.0):
        raise DataError(f"heldout is the fraction of {units} to hold out: at least 0 and below 1, not {heldout}")


def carry_out(job: Job, make: Callable[[Workspace], Made], *, overwrite: bool) -> dict[str, Any]:
    """Prepare a corpus, or recognise that it is finished already.

    Args:
        job: the preparation to carry out.
        make: makes the shards inside the workspace.
        overwrite: replace a finished corpus made with other settings.

    Returns:
        The summary, with already_there, seconds, path, and the entries of `Made.run`.

    Raises:
        DataError: the folder holds another corpus, another preparation is running in the folder, or `make` failed.
    """
    started = time.monotonic()
    fingerprint = fingerprint_of(job.settings, job.sources)
    known = {**job.unset, **job.settings}
    finished = look_for_finished(job.output, fingerprint, overwrite, known, job.sources)
    if finished is not None:
        return {**finished, "already_there": True, "seconds": time.monotonic() - started, "path": str(job.output)}
    vocab = job.tokenizer.vocab
    try:
        with Workspace(job.output, fingerprint) as space:
            made = make(space)
            write_corpus_info(
                job.output,
                vocab_sha256=vocab.sha256,
                vocab_size=vocab.size,
                splits=made.summary["splits"],
                skipped=job.report,
                **made.info,
                fingerprint=fingerprint,
                files=space.outputs,
                summary=made.summary,
                inputs=[str(source.path) for source in job.sources],
                settings=job.settings,
            )
            space.remove()
    except OSError as error:
        raise DataError(describe_os_error(error)) from error
    seconds = time.monotonic() - started
    return {**made.summary, "already_there": False, **made.run, "seconds": seconds, "path": str(job.output)}
