"""Checkpoints survive kills, damage and full disks, and remove only what is theirs."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.disk_order import DiskOrder
from propeller.errors import UserError
from propeller.run import checkpoint


def write(root: Path, step: int, **options: object) -> Path:
    tensors = {"model.safetensors": {"w": np.full((3, 5), step, np.float32), "scalar": np.array(step, np.int64)}}
    return checkpoint.save(root, step, tensors, {"state.json": {"step": step}}, **options)  # type: ignore[arg-type]


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    extra = tmp_path / "words.txt"
    extra.write_bytes(b"\x00abc\n")
    rng = np.random.default_rng(0)
    big = rng.normal(size=(7, 11)).astype(np.float32)
    arrays = {"turned": big.T, "bytes": np.arange(4, dtype=np.uint8), "empty": np.zeros((0, 3), np.float32)}
    path = checkpoint.save(
        tmp_path / "run", 1500, {"a.safetensors": arrays}, {"s.json": {"x": [1, "ü", None]}}, {"words.txt": extra}
    )
    assert path.name == "step-00001500"
    opened = checkpoint.read(path)
    assert opened.step == 1500
    assert opened.document("s.json") == {"x": [1, "ü", None]}
    assert opened.file("words.txt").read_bytes() == b"\x00abc\n"
    back = opened.tensors("a.safetensors")
    assert set(back) == set(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)
    with pytest.raises(UserError, match=r"holds no b\.safetensors; it holds a\.safetensors"):
        opened.tensors("b.safetensors")
    manifest = json.loads((path / "manifest.json").read_text())
    digest = subprocess.run(["sha256sum", path / "words.txt"], capture_output=True, text=True, check=True).stdout
    assert manifest["files"]["words.txt"] == {"bytes": 5, "sha256": digest.split()[0]}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("truncate", r"step-00000200/model\.safetensors: [\d,]+ bytes instead of [\d,]+ \(truncated"),
        ("flip", r"step-00000200/model\.safetensors: SHA-256 differs"),
        ("remove", r"step-00000200/state\.json: missing"),
        ("manifest", r"step-00000200/manifest\.json: damaged"),
        ("no manifest", r"step-00000200/manifest\.json: missing"),
    ],
)
def test_damage_is_named_and_the_previous_one_is_used(tmp_path: Path, damage: str, message: str) -> None:
    good, bad = write(tmp_path, 100), write(tmp_path, 200)
    model = bad / "model.safetensors"
    content = bytearray(model.read_bytes())
    if damage == "truncate":
        model.write_bytes(content[:-1])
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        model.write_bytes(content)
    elif damage == "remove":
        (bad / "state.json").unlink()
    elif damage == "manifest":
        (bad / "manifest.json").write_text('{"format": "propeller-che')
    else:
        (bad / "manifest.json").unlink()
    with pytest.raises(checkpoint.CheckpointError, match=message):
        checkpoint.verify(bad)
    if damage == "flip":  # only the hashes show it
        assert checkpoint.read(bad, check=False).step == 200
    found, warnings = checkpoint.latest_valid(tmp_path)
    assert found == good
    assert len(warnings) == 1
    assert warnings[0].startswith("step-00000200/")
    assert warnings[0].endswith("; using step-00000100")


def test_nothing_valid(tmp_path: Path) -> None:
    assert checkpoint.latest_valid(tmp_path / "absent") == (None, [])
    (write(tmp_path, 7) / "state.json").write_text("[]")
    found, warnings = checkpoint.latest_valid(tmp_path)
    assert found is None
    assert "there is no intact checkpoint" in warnings[0]


def test_keep_last_and_best_and_foreign_directories(tmp_path: Path) -> None:
    foreign = tmp_path / "step-00000001"  # somebody else's: no manifest of ours
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    write(outside, 2)
    (tmp_path / "step-00000002").symlink_to(outside / "step-00000002")
    later = write(tmp_path, 900)  # of another run
    for step in range(10, 60, 10):
        write(tmp_path, step, keep_last=2, best={"loss": 1.5} if step == 20 else None)
    assert checkpoint.steps(tmp_path) == [1, 2, 20, 40, 50, 900]
    assert checkpoint.best(tmp_path) == (tmp_path / "step-00000020", {"step": 20, "loss": 1.5})
    assert (foreign / "notes.txt").read_text() == "mine"
    assert checkpoint.verify(outside / "step-00000002").step == 2
    assert checkpoint.verify(later).step == 900
    write(tmp_path, 60, keep_last=1, best={"loss": 1.0})
    assert checkpoint.steps(tmp_path) == [1, 2, 60, 900]


@pytest.mark.parametrize("name", ["../state.json", "/etc/hostname", "..", "a\\b", ""])
def test_a_manifest_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, 5)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"][name] = manifest["files"]["state.json"]
    (tmp_path / "state.json").write_bytes((path / "state.json").read_bytes())
    (path / "manifest.json").write_text(json.dumps(manifest))
    for check in (True, False):
        with pytest.raises(checkpoint.CheckpointError, match="names files outside"):
            checkpoint.read(path, check=check)


def test_leftovers_are_removed_by_the_next_save_and_nothing_else(tmp_path: Path) -> None:
    left = tmp_path / ".tmp-step-00000300-12345"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    for name in (".tmp-other", ".tmp-step-x-1", "tmp-step-00000300-1"):
        (tmp_path / name).mkdir()
    write(tmp_path, 400)
    assert not left.exists()
    assert {entry.name for entry in tmp_path.iterdir()} == {
        ".tmp-other",
        ".tmp-step-x-1",
        "tmp-step-00000300-1",
        "step-00000400",
    }


def test_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 1)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"step-00000002: .*No space left on device.*earlier ones are untouched") as e:
        write(tmp_path, 2)
    assert "\n" not in str(e.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-00000001"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not be written"):
        write(tmp_path / "file" / "run", 1)


def test_a_repeated_step_replaces_a_different_one(tmp_path: Path) -> None:
    write(tmp_path, 3)
    before = (tmp_path / "step-00000003").stat().st_ino
    write(tmp_path, 3)  # the same bits: left in place
    assert (tmp_path / "step-00000003").stat().st_ino == before
    checkpoint.save(tmp_path, 3, {}, {"state.json": {"other": 1}})
    opened = checkpoint.read(tmp_path / "step-00000003")
    assert opened.names == ("state.json",)
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-00000003"]


KILL = """
import os, signal, sys
import numpy as np
from pathlib import Path
from propeller.run import checkpoint
top, calls = Path(sys.argv[1]), 0
def dying(real):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == when:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    return call
def save(root, step):
    checkpoint.save(root, step, {"m.safetensors": {"w": np.full(1000, step, np.float32)}}, {"s.json": step},
                    keep_last=1, best={"loss": step})
for when in range(1, 1000):
    root = top / str(when)
    save(root, 100)
    child = os.fork()
    if child == 0:
        for name in ("fsync", "rename", "replace", "mkdir"):
            setattr(os, name, dying(getattr(os, name)))
        save(root, 200)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        print("calls", when - 1)
        break
"""


def test_kill_at_every_point_of_a_save(tmp_path: Path) -> None:
    """A kill before any of the calls that touch the directory leaves an intact checkpoint, old or new."""
    done = subprocess.run([sys.executable, "-c", KILL, tmp_path], capture_output=True, text=True, check=True)
    calls = int(done.stdout.split()[1])
    assert calls >= 10
    found_steps = []
    for when in range(1, calls + 1):
        root = tmp_path / str(when)
        found, warnings = checkpoint.latest_valid(root)
        assert found is not None
        assert warnings == []
        opened = checkpoint.read(found)
        np.testing.assert_array_equal(opened.tensors("m.safetensors")["w"], np.full(1000, opened.step, np.float32))
        marked = checkpoint.best(root)
        assert marked is not None
        assert checkpoint.verify(marked[0]).step == marked[1]["step"]
        found_steps.append(opened.step)
        write(root, 300, keep_last=1)
        assert not [entry for entry in root.iterdir() if entry.name.startswith(".tmp")]
    assert found_steps == sorted(found_steps)
    assert set(found_steps) == {100, 200}


def test_a_checkpoint_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, manifest, folder, name, parent: in another order a power cut can leave a checkpoint with holes in it."""
    extra, root = tmp_path / "words.txt", tmp_path / "checkpoints"
    extra.write_bytes(b"words" * 1000)
    write(root, 100)
    order = DiskOrder().watch(monkeypatch)
    tensors = {"a.safetensors": {"w": np.arange(5000)}, "b.safetensors": {"w": np.ones(3, np.float32)}}
    path = checkpoint.save(
        root, 200, tensors, {"state.json": {"x": 1}}, {"words.txt": extra}, keep_last=1, best={"loss": 0.5}
    )
    told, files = order.told(root), ["a.safetensors", "b.safetensors", "state.json", "words.txt"]
    assert sorted(told[:4]) == [f"sync step-00000200/{name}" for name in files]
    assert told[4:] == [
        "sync step-00000200/manifest.json",
        "sync step-00000200",
        "rename step-00000200",
        "sync .",
        "sync best.json",
        "rename best.json",
        "sync .",
        "rename removed",
    ]
    # What was forced to disk is what lies there, and what the manifest tells of.
    by_inode = {event.inode: event.content for event in order.events[:5]}
    manifest = json.loads((path / "manifest.json").read_text())
    for name in files:
        assert by_inode[(path / name).stat().st_ino] == manifest["files"][name]["sha256"]
    assert by_inode[(path / "manifest.json").stat().st_ino] == checkpoint.sha256_file(path / "manifest.json")
    assert order.events[5].content == tuple(sorted([*files, "manifest.json"]))
    assert order.events[6].to == path
    assert "step-00000200" in order.events[7].content
    assert "best.json" in order.events[10].content
    order.require_synced_before_renamed(root / "best.json")


def test_a_replaced_checkpoint_is_on_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 3)
    order = DiskOrder().watch(monkeypatch)
    path = checkpoint.save(tmp_path, 3, {}, {"state.json": {"other": 1}})
    assert order.told(tmp_path) == [
        "sync step-00000003/state.json",
        "sync step-00000003/manifest.json",
        "sync step-00000003",
        "rename removed",
        "rename step-00000003",
        "sync .",
    ]
    assert [event.to for event in order.events if event.kind == "rename"][1] == path
