"""Checkpoints: a directory per step that either is complete and intact, or is not a checkpoint.

``root/step-00001500/`` holds safetensors files, JSON documents and copied files, and ``manifest.json`` with the size
and SHA-256 of each. It is written aside as ``root/.tmp-step-…``, every file and the directory are forced to disk, and
only then is it renamed; so a process killed at any moment leaves the previous checkpoints as they were.
``root/best.json`` names the step that is never removed. Only this module's own directories are ever deleted. No file is
a pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from propeller.errors import UserError

MANIFEST = "manifest.json"
BEST = "best.json"
_FORMAT = "propeller-checkpoint"
_VERSION = 1
_STEP_NAME = re.compile(r"step-(\d{8,})")
_TEMPORARY_NAME = re.compile(r"\.tmp-step-\d{8,}-\d+(-removed)?")
_BLOCK = 4 * 1024 * 1024


class CheckpointError(UserError):
    """A checkpoint is incomplete or damaged; the message names the file."""


@dataclass(frozen=True)
class Checkpoint:
    """An open checkpoint, whose tensors are read when they are asked for.

    Attributes:
        path: directory of the checkpoint.
        step: number of the step.
        names: names of the files in the directory, without the manifest.
    """

    path: Path
    step: int
    names: tuple[str, ...]

    def tensors(self, name: str) -> dict[str, np.ndarray[Any, Any]]:
        """The arrays of one safetensors file. Raises CheckpointError if the checkpoint has no such file."""
        try:
            return load_file(self.file(name))
        except SafetensorError as error:
            raise CheckpointError(f"{self.path / name}: not a safetensors file ({error})") from error

    def document(self, name: str) -> Any:
        """One JSON document. Raises CheckpointError if the checkpoint has no such file."""
        return json.loads(self.file(name).read_text(encoding="utf-8"))

    def file(self, name: str) -> Path:
        """Path of one file of the checkpoint. Raises CheckpointError if the checkpoint has no such file."""
        if name not in self.names:
            raise CheckpointError(f"{self.path}: holds no {name}; it holds {', '.join(self.names)}")
        return self.path / name


def is_plain(name: str) -> bool:
    """Whether a name is a plain file name, which cannot lead to another directory."""
    return name not in ("", ".", "..") and not any(character in name for character in "/\\\0")


def step_path(root: Path, step: int) -> Path:
    """The directory of the checkpoint of `step` under `root`."""
    return root / f"step-{step:08d}"


def steps(root: Path) -> list[int]:
    """Steps that have a directory under `root`, ascending; the checkpoints are not verified."""
    if not root.is_dir():
        return []
    matches = (_STEP_NAME.fullmatch(entry.name) for entry in root.iterdir() if entry.is_dir())
    return sorted(int(match[1]) for match in matches if match)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file as hexadecimal digits, read in blocks (memory does not grow with the file)."""
    digest = hashlib.sha256()
    block = memoryview(bytearray(_BLOCK))
    with open(path, "rb", buffering=0) as stream:
        while count := stream.readinto(block):
            digest.update(block[:count])
    return digest.hexdigest()


def _digests(paths: Sequence[Path]) -> list[str]:
    """SHA-256 of files, computed in parallel: without instructions for it, processors hash slower than disks read."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(sha256_file, paths))


def _sync(path: Path) -> None:
    """Force a file or a directory to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file so that after any failure it is either the old file or the complete new one."""
    aside = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    try:
        aside.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        _sync(aside)
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def save(
    root: Path,
    step: int,
    tensors: Mapping[str, Mapping[str, NDArray[Any]]],
    documents: Mapping[str, Any] | None = None,
    files: Mapping[str, Path] | None = None,
    *,
    keep_last: int | None = None,
    best: Mapping[str, Any] | None = None,
) -> Path:
    """Write the checkpoint of `step` and return its directory.

    `tensors` maps safetensors file names to arrays by name, `documents` JSON file names to values, `files` names to
    files that are copied. `keep_last` is the number of newest checkpoints up to this step that are kept, besides the
    best one; None keeps all. `best` marks this checkpoint as the best so far, with facts such as the metric's value.
    Raises UserError if the disk is full or the directory cannot be written.
    """
    documents, files = documents or {}, files or {}
    names = [*tensors, *documents, *files]
    assert len({*names, MANIFEST}) == len(names) + 1, f"names used twice in a checkpoint: {names}"
    assert all(is_plain(name) for name in names), f"names in a checkpoint must be plain: {names}"
    assert keep_last is None or keep_last >= 1
    target = step_path(root, step)
    aside = root / f".tmp-{target.name}-{os.getpid()}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(root)
        aside.mkdir()
        for name, arrays in tensors.items():
            save_file(
                {key: np.ascontiguousarray(array).reshape(array.shape) for key, array in arrays.items()}, aside / name
            )
        for name, value in documents.items():
            (aside / name).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        for name, source in files.items():
            shutil.copyfile(source, aside / name)
        _finish(aside, step, names)
        _put_in_place(aside, target)
        _sync(root)
        if best is not None:
            mark_best(root, step, best)
        if keep_last is not None:
            _prune(root, step, keep_last)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UserError(
            f"{target}: the checkpoint could not be written ({reason}); earlier ones are untouched: "
            "free some space or choose another output directory, then run the same command again"
        ) from error
    return target


def _finish(aside: Path, step: int, names: list[str]) -> None:
    """Force the files to disk and write the manifest."""
    for name in names:
        _sync(aside / name)
    digests = _digests([aside / name for name in names])
    entries = {
        name: {"bytes": (aside / name).stat().st_size, "sha256": digest}
        for name, digest in zip(names, digests, strict=True)
    }
    manifest = {"format": _FORMAT, "version": _VERSION, "step": step, "files": entries}
    (aside / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    _sync(aside / MANIFEST)
    _sync(aside)


def _put_in_place(aside: Path, target: Path) -> None:
    """Give the finished directory its name; a checkpoint of the same step is replaced, unless its content is equal."""
    if not target.exists():
        os.rename(aside, target)
        return
    try:
        verify(target)
        same = (target / MANIFEST).read_bytes() == (aside / MANIFEST).read_bytes()
    except CheckpointError:
        same = False
    if same:  # a step that was repeated after a resume: the checkpoint stays, so that it is never missing
        shutil.rmtree(aside)
        return
    old = aside.with_name(aside.name + "-removed")
    os.rename(target, old)
    os.rename(aside, target)
    shutil.rmtree(old)


def mark_best(root: Path, step: int, facts: Mapping[str, Any] | None = None) -> None:
    """Mark the checkpoint of `step` as the best: it is not removed until another checkpoint is marked."""
    write_json(root / BEST, {"step": step, **(facts or {})})


def best(root: Path) -> tuple[Path, dict[str, Any]] | None:
    """(directory, facts about it) of the checkpoint that is marked as best; None if there is no mark or directory."""
    try:
        facts = json.loads((root / BEST).read_text(encoding="utf-8"))
        path = step_path(root, int(facts["step"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (path, facts) if path.is_dir() else None


def verify(path: Path) -> Checkpoint:
    """Check every file of a checkpoint against the manifest, and open the checkpoint.

    Raises CheckpointError naming the first file that is missing, truncated or altered.
    """
    return read(path, check=True)


def read(path: Path, *, check: bool = True) -> Checkpoint:
    """Open a checkpoint; ``check=False`` skips the hashes, for a checkpoint that was verified a moment ago.

    Raises CheckpointError naming the first file that is missing, truncated or altered.
    """
    step, entries = _manifest(path)
    files = [path / name for name in entries]
    try:
        for file, (size, _) in zip(files, entries.values(), strict=True):
            actual = file.stat().st_size if file.is_file() else None
            if actual is None:
                raise CheckpointError(f"{path.name}/{file.name}: missing")
            if actual != size:
                raise CheckpointError(
                    f"{path.name}/{file.name}: {actual:,} bytes instead of {size:,} (truncated or altered)"
                )
        for file, (_, digest), found in zip(files, entries.values(), _digests(files), strict=True) if check else ():
            if found != digest:
                raise CheckpointError(
                    f"{path.name}/{file.name}: SHA-256 differs from the manifest's (altered or damaged)"
                )
    except OSError as error:
        raise CheckpointError(f"{path.name}: {error.filename or 'a file'} cannot be read ({error.strerror})") from error
    return Checkpoint(path, step, tuple(entries))


def _manifest(path: Path) -> tuple[int, dict[str, tuple[int, str]]]:
    """(step, size and SHA-256 by file name) of a checkpoint's manifest. Raises CheckpointError."""
    where = f"{path.name}/{MANIFEST}"
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        known, version, step = manifest["format"] == _FORMAT, int(manifest["version"]), int(manifest["step"])
        entries = {str(name): (int(entry["bytes"]), str(entry["sha256"])) for name, entry in manifest["files"].items()}
    except FileNotFoundError as error:
        raise CheckpointError(f"{where}: missing, so this is not a finished checkpoint") from error
    except OSError as error:
        raise CheckpointError(f"{where}: cannot be read ({error.strerror})") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"{where}: damaged, it cannot be understood") from error
    if not known:
        raise CheckpointError(f"{where}: not a checkpoint's manifest")
    if not all(is_plain(name) for name in entries):
        raise CheckpointError(f"{where}: damaged, it names files outside of the checkpoint")
    if version > _VERSION:
        raise CheckpointError(f"{where}: version {version} is newer than this program knows")
    return step, entries


def latest_valid(root: Path) -> tuple[Path | None, list[str]]:
    """(newest intact checkpoint or None, a warning for each newer damaged one, which names its first bad file)."""
    problems: list[str] = []
    for step in reversed(steps(root)):
        path = step_path(root, step)
        try:
            verify(path)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        return path, [f"{problem}; using {path.name}" for problem in problems]
    return None, [f"{problem}; there is no intact checkpoint to use instead" for problem in problems]


def _is_own(path: Path) -> bool:
    """True for a step directory that this module wrote: a real directory with one of its manifests."""
    if path.is_symlink() or not path.is_dir():
        return False
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        return isinstance(manifest, dict) and manifest.get("format") == _FORMAT
    except (OSError, ValueError):
        return False


def _prune(root: Path, step: int, keep_last: int) -> None:
    """Remove checkpoints before the newest `keep_last` up to `step`; later ones belong to another run and stay."""
    marked = best(root)
    for old in [s for s in steps(root) if s <= step][:-keep_last]:
        path = step_path(root, old)
        if (marked is not None and path == marked[0]) or not _is_own(path):
            continue
        # Renamed first, so that a kill in the middle of the removal leaves no damaged checkpoint behind.
        aside = root / f".tmp-{path.name}-{os.getpid()}-removed"
        os.rename(path, aside)
        shutil.rmtree(aside)


def discard(root: Path) -> None:
    """Remove all checkpoints under `root`, the mark of the best and the files of a killed save, and nothing else."""
    if not root.is_dir():
        return
    for step in steps(root):
        if _is_own(step_path(root, step)):
            shutil.rmtree(step_path(root, step))
    (root / BEST).unlink(missing_ok=True)
    _remove_leftovers(root)
    if not any(root.iterdir()):
        root.rmdir()


def _remove_leftovers(root: Path) -> None:
    """Remove the files of a killed save: this module's own temporary directories and marker files."""
    for entry in root.iterdir():
        if _TEMPORARY_NAME.fullmatch(entry.name) and entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif re.fullmatch(rf"\.tmp-{re.escape(BEST)}-\d+", entry.name) and entry.is_file():
            entry.unlink()
