"""The folder of an unfinished preparation, and the rules for deleting files.

All unfinished files are in `<output>/.partial`; shards are written to the output folder at the end. Only files that
this program writes, which are known by name, are ever deleted.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from reader.corpora.corpus import CORPUS_FILE, read_corpus_info, shard_name
from reader.errors import DataError
from reader.files.tensorfile import write_json_atomically
from reader.text.blocks import Source

PARTIAL = ".partial"
_STATE = "state.json"
_LOCK = "lock"
_OURS = re.compile(
    r"block-\d{6,}\.safetensors|phrases\.tsv|state\.json|tokenizer_config\.json|vocab\.txt|sentencepiece\.model"
)
_SHARD = re.compile(r"(train|heldout)-\d{5,}\.safetensors")


class Workspace:
    """The folder `.partial` of one output folder, locked against other processes while in use.

    On entry, the files of an unfinished run with the same fingerprint are kept, and those of another run are removed.
    """

    def __init__(self, output: Path, fingerprint: str) -> None:
        self.output = output
        self.folder = output / PARTIAL
        self._fingerprint = fingerprint
        self._lock: IO[str] | None = None
        self.outputs: list[str] = []
        """Names of the files in the output folder that are this preparation's own."""

    def __enter__(self) -> Workspace:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / _LOCK).open("a")
        except OSError as error:
            raise DataError(f"{self.output}: cannot write there: {error.strerror or error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise DataError(f"{self.output}: another preparation is writing there; wait for it or stop it") from None
        state = self._read_state()
        if state.get("fingerprint") != self._fingerprint:
            self._clean(state)
            self._write_state()
        else:
            self.outputs = [str(name) for name in state.get("outputs", ())]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.close()

    def announce(self, shards: Mapping[str, int], files: Sequence[Path]) -> None:
        """Records the files that will be written to the output folder, so that a later run can remove them.

        Args:
            shards: number of shards of each split.
            files: files of this folder that `keep` will move. A file of the same name and content in the output folder
                is the user's own copy, and is kept.

        Raises:
            DataError: the output folder holds a file of such a name that no preparation wrote, with other content.
        """
        names = [shard_name(split, number) for split, count in shards.items() for number in range(count)]
        foreign = [name for name in names if name not in self.outputs and (self.output / name).exists()]
        for file in files:
            there = self.output / file.name
            if file.name in self.outputs or not there.exists():
                names.append(file.name)
            elif there.read_bytes() != file.read_bytes():
                foreign.append(file.name)
        if foreign:
            raise DataError(
                f"{self.output / foreign[0]} is there but belongs to no corpus: move it, or name another folder"
            )
        self.outputs = names
        self._write_state()

    def keep(self, files: Sequence[Path]) -> None:
        """Moves the announced files of this folder into the output folder."""
        for file in files:
            if file.name in self.outputs:
                os.replace(file, self.output / file.name)

    def remove(self) -> None:
        """Removes the files that this program wrote into the folder, and the folder if it is empty then."""
        self._clean({})
        (self.folder / _LOCK).unlink(missing_ok=True)
        _remove_if_empty(self.folder)

    def _read_state(self) -> dict[str, Any]:
        try:
            state = json.loads((self.folder / _STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def _write_state(self) -> None:
        write_json_atomically(self.folder / _STATE, {"fingerprint": self._fingerprint, "outputs": self.outputs})

    def _clean(self, state: Mapping[str, Any]) -> None:
        for name in state.get("outputs", ()):
            _remove_own(self.output, str(name))
        for folder in (self.folder / "tokenizer", self.folder):
            for path in folder.glob("*"):
                if _OURS.fullmatch(path.name.removesuffix(".tmp")) and path.is_file():
                    path.unlink()
        _remove_if_empty(self.folder / "tokenizer")


def fingerprint_of(settings: dict[str, Any], sources: Sequence[Source]) -> str:
    """A hash of settings and input files (path, format, size, time); equal hashes mean equal results."""
    files = []
    for source in sources:
        stat = source.path.stat()
        files.append([str(source.path.resolve()), source.format, stat.st_size, stat.st_mtime_ns])
    return hashlib.sha256(json.dumps([settings, files], sort_keys=True).encode("utf-8")).hexdigest()


def look_for_finished(
    output: Path, fingerprint: str, overwrite: bool, settings: dict[str, Any], sources: Sequence[Source]
) -> dict[str, Any] | None:
    """The summary of the finished corpus in `output` if it has this fingerprint; None if there is no finished corpus.

    Files that a killed preparation left beside a finished corpus are removed.

    Raises:
        DataError: the folder holds another corpus or a damaged one (with `overwrite` it is removed instead).
    """
    if output.exists() and not output.is_dir():
        raise DataError(f"{output} is a file; name a folder for the corpus")
    if not (output / CORPUS_FILE).exists():
        return None
    try:
        info = read_corpus_info(output)
    except DataError:
        if not overwrite:
            raise
        info = {}
    if info.get("fingerprint") == fingerprint and all((output / name).exists() for name in info.get("files", ())):
        if not isinstance(info.get("summary"), dict):
            raise DataError(f"{output / CORPUS_FILE}: damaged: summary is missing; remove the file and prepare again")
        if (output / PARTIAL).exists():
            with Workspace(output, fingerprint) as space:
                space.remove()
        return dict(info["summary"])
    if not overwrite:
        raise DataError(
            f"{output} holds a corpus made from other inputs or with other settings "
            f"({_differences(info, settings, sources)}); name another folder, or add --overwrite"
        )
    remove_corpus(output, info)
    return None


def _differences(info: dict[str, Any], settings: dict[str, Any], sources: Sequence[Source]) -> str:
    """The settings and inputs in which a finished corpus differs from this call, as a phrase."""
    before = info.get("settings")
    before = before if isinstance(before, dict) else {}
    now = json.loads(json.dumps(settings))
    other = ["vocab" if name == "tokenizer" else name for name in now if before.get(name) != now[name]]
    if info.get("inputs") != [str(source.path) for source in sources]:
        other.insert(0, "inputs")
    return ", ".join(other) + (" differ" if len(other) > 1 else " differs") if other else "the input files have changed"


def remove_corpus(output: Path, info: Mapping[str, Any]) -> None:
    """Removes a finished corpus: corpus.json first, then the files that it lists."""
    (output / CORPUS_FILE).unlink()
    for name in info.get("files", ()):
        _remove_own(output, str(name))


def _remove_own(output: Path, name: str) -> None:
    if _SHARD.fullmatch(name) or _OURS.fullmatch(name):
        (output / name).unlink(missing_ok=True)
        (output / (name + ".tmp")).unlink(missing_ok=True)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return  # the folder does not exist, or holds files of other programs
