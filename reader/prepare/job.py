"""What every preparation of a corpus has in common, whatever its kind.

    inputs → (the kind's own work, inside a locked workspace) → shards → corpus.json, last

The same command continues an unfinished preparation, recognises a finished one, and refuses another one's folder.
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
    """How far preparation is: `stage` is phrases, tokens or shards; `total` is an estimate for compressed
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
        tokenizer: it goes into the corpus.
        sources: the input files.
        settings: everything else that decides the result, as JSON-able data.
        progress: called now and then.
        unset: further settings that have their defaults, for the comparison with another corpus' settings.
        report: counts what is left out.
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
    """What the work of one kind of corpus came to.

    Attributes:
        summary: with `splits` at least; it is written into corpus.json and returned.
        info: what else corpus.json says of the kind.
        run: what is returned, but not written: it is of this run alone.
    """

    summary: dict[str, Any]
    info: Mapping[str, Any]
    run: Mapping[str, Any] = field(default_factory=dict)


def check_heldout(heldout: float, units: str) -> None:
    """Refuse an impossible share of held-out text.

    Raises:
        DataError: it is no fraction.
    """
    if not (0.0 <= heldout < 1.0):
        raise DataError(f"heldout is the fraction of {units} kept apart, from 0 to below 1, not {heldout}")


def carry_out(job: Job, make: Callable[[Workspace], Made], *, overwrite: bool) -> dict[str, Any]:
    """Prepare a corpus, or find that it is there already.

    Args:
        job: what to prepare.
        make: makes the shards inside the workspace.
        overwrite: replace a finished corpus made with other settings.

    Returns:
        The summary, with already_there, seconds, path, and what `make` says of its run.

    Raises:
        DataError: another corpus is there already, another preparation is running there, or `make` failed.
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
