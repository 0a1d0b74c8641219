"""In which order a program forces files to disk and renames them."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Event:
    """One call that the order of a safe write depends on.

    Attributes:
        kind: "sync" or "rename".
        inode: of the file or folder that was forced to disk or renamed: it keeps it under every name.
        content: SHA-256 of a synced file at that moment, or the names in a synced folder; "" for a rename.
        to: the new path of what was renamed, else None.
    """

    kind: str
    inode: int
    content: str | tuple[str, ...] = ""
    to: Path | None = None


@dataclass
class DiskOrder:
    """Records `os.fsync`, `os.rename` and `os.replace`, which still do their work."""

    events: list[Event] = field(default_factory=list)

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> DiskOrder:
        """Begin to record; returns itself."""
        sync, move = os.fsync, {name: getattr(os, name) for name in ("rename", "replace")}

        def recorded_sync(descriptor: int) -> None:
            sync(descriptor)
            about = os.fstat(descriptor)
            if stat.S_ISDIR(about.st_mode):
                content: str | tuple[str, ...] = tuple(sorted(os.listdir(descriptor)))
            else:
                reader = os.open(f"/dev/fd/{descriptor}", os.O_RDONLY)
                content = hashlib.sha256(os.pread(reader, about.st_size, 0)).hexdigest()
                os.close(reader)
            self.events.append(Event("sync", about.st_ino, content))

        def recorded_move(name: str, source: str | Path, target: str | Path) -> None:
            inode = os.stat(source).st_ino
            move[name](source, target)
            self.events.append(Event("rename", inode, to=Path(target)))

        monkeypatch.setattr(os, "fsync", recorded_sync)
        monkeypatch.setattr(os, "rename", lambda source, target: recorded_move("rename", source, target))
        monkeypatch.setattr(os, "replace", lambda source, target: recorded_move("replace", source, target))
        return self

    def told(self, root: Path) -> list[str]:
        """The events by the names that the files have in the end: "sync NAME", or "rename NAME".

        Args:
            root: names are relative to it; it is "." itself. What is no longer there is called "removed".
        """
        names = {path.stat().st_ino: str(path.relative_to(root)) for path in (root, *root.rglob("*"))}
        return [f"{event.kind} {names.get(event.inode, 'removed')}" for event in self.events]

    def require_synced_before_renamed(self, path: Path) -> None:
        """Fail unless the file at `path` was forced to disk with the content that it has, and renamed after that."""
        inode, digest = path.stat().st_ino, hashlib.sha256(path.read_bytes()).hexdigest()
        own = [event for event in self.events if event.inode == inode]
        assert [event.kind for event in own] == ["sync", "rename"], f"{path.name}: {own}"
        assert own[0].content == digest, f"{path.name}: written to after it was forced to disk"
        assert own[1].to == path
