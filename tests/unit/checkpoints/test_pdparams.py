"""PaddleNLP's files of weights: pickles that are read without running what they name."""

from __future__ import annotations

import collections
import contextlib
import io
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ernie_paddle.checkpoints.pdparams import read_pdparams, write_pdparams
from ernie_paddle.checkpoints.restricted_pickle import STAND_INS
from propeller.errors import UserError

RNG = np.random.default_rng(0)
ARRAYS = {
    "matrix": RNG.standard_normal((3, 4)).astype(np.float32),
    "columns": np.asfortranarray(RNG.standard_normal((3, 4))),
    "half": RNG.standard_normal(5).astype(np.float16),
    "scalar": np.array(2.5, np.float32),
    "numbers": np.arange(6).reshape(2, 3),
    "big_endian": np.arange(4, dtype=">f4"),
}


def same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> bool:
    return set(found) == set(wanted) and all(
        found[name].shape == array.shape
        and found[name].dtype == array.dtype.newbyteorder("=")
        and np.array_equal(found[name], array)
        for name, array in wanted.items()
    )


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", [dict, collections.OrderedDict])
def test_arrays_are_read_in_every_protocol(tmp_path: Path, protocol: int, kind: type) -> None:
    path = tmp_path / "x.pdparams"
    path.write_bytes(pickle.dumps(kind(ARRAYS), protocol))
    assert same(read_pdparams(path), ARRAYS)


def test_what_paddle_saves_is_read_and_what_is_written_paddle_loads(tmp_path: Path) -> None:
    import paddle

    paddle.disable_static()
    layer = paddle.nn.Linear(3, 2)
    wanted = {name: tensor.numpy() for name, tensor in layer.state_dict().items()}
    for number, content in enumerate([layer.state_dict(), dict(layer.named_parameters())]):
        for protocol in (2, 4):
            paddle.save(content, str(tmp_path / f"{number}.pdparams"), protocol=protocol)
            assert same(read_pdparams(tmp_path / f"{number}.pdparams"), wanted)
    write_pdparams(tmp_path / "ours.pdparams", ARRAYS)
    loaded = paddle.load(str(tmp_path / "ours.pdparams"), return_numpy=True)
    assert same(loaded, ARRAYS)
    assert same(read_pdparams(tmp_path / "ours.pdparams"), ARRAYS)


def test_tensors_with_their_names_and_sliced_ones(tmp_path: Path) -> None:
    """The forms of paddle.save: (name, array), a table of names, and arrays cut for the older protocols."""

    class Tensor:
        def __reduce__(self) -> tuple[Any, ...]:
            return tuple, (("linear_0.w_0", ARRAYS["matrix"]),)

    flat = ARRAYS["matrix"].ravel()
    content = {
        "named": Tensor(),
        "pair": ("linear_0.w_0", ARRAYS["matrix"]),
        "big@@.0": flat[:7],
        "big@@.1": flat[7:],
        "StructuredToParameterName@@": {"named": "linear_0.w_0"},
        "UnpackBigParamInfor@@": {"big": {"OriginShape": (3, 4), "slices": ["big@@.0", "big@@.1"]}},
    }
    path = tmp_path / "x.pdparams"
    path.write_bytes(pickle.dumps(content, 2))
    assert same(read_pdparams(path), dict.fromkeys(("named", "pair", "big"), ARRAYS["matrix"]))


def test_what_python_2_wrote_is_read(tmp_path: Path) -> None:
    """Strings of bytes instead of bytes, and the modules' older names."""
    raw = struct.pack("<2f", 1.5, -2.0)
    text = (
        b"\x80\x02}U\x01wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x08" + raw + b"tbs."
    )
    path = tmp_path / "x.pdparams"
    path.write_bytes(text)
    assert same(read_pdparams(path), {"w": np.array([1.5, -2.0], np.float32)})


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def forged(*instructions: bytes) -> bytes:
    return b"\x80\x04" + b"".join(instructions) + b"."


_DTYPE = b"cnumpy\ndtype\n"
_RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"w": Calls(os.system, "touch executed")}, r"asks for (posix|nt)\.system"),
        ({"w": Calls(eval, "open('executed', 'w')")}, r"asks for (builtins|__builtin__)\.eval"),
        ({"w": Calls(exec, "open('executed', 'w')")}, r"asks for (builtins|__builtin__)\.exec"),
        (Calls(open, "executed", "w"), r"asks for (io|_io)\.open"),
        ({"w": Calls(getattr, "text", "upper")}, r"asks for (builtins|__builtin__)\.getattr"),
        ({"w": np.array([Calls(os.system, "touch executed")], dtype=object)}, r"system|type '?O8'?"),
        ({"w": np.array([None], dtype=object)}, "type 'O8'"),
        ({"w": np.zeros(1, [("a", "f4")])}, "type 'V4'"),
        ({"w": np.array(["text"])}, "type 'U4'"),
        ({"w": np.float32(1)}, r"asks for numpy\.(_core|core)\.multiarray\.scalar"),
        ({"w": 1.5}, "'w' is float"),
        ({"w": "text"}, "'w' is str"),
        ({"w": {"deeper": np.zeros(2)}}, "'w' is dict"),
        ([np.zeros(2)], "holds list, not a dictionary"),
        ({"w": collections.Counter}, r"asks for collections\.Counter"),
        ({"w": np.ma.zeros(2)}, r"asks for numpy\.ma"),
    ],
)
def test_anything_but_tensors_is_refused_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any, reason: str, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pdparams"
    path.write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(UserError, match=reason) as refused:
        read_pdparams(path)
    assert "\n" not in str(refused.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.pdparams"]


def test_the_ordinary_reader_would_run_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps({"w": Calls(os.system, "touch executed")}))
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "raw",
    [
        forged(b"cbuiltins\ntuple\n", b"}", b"\x8c\x05_callcos\nsystem\ns", b"b"),
        # The state of a stand-in cannot be changed: neither by a dictionary, nor by the pair that sets slots.
        forged(b"cbuiltins\ntuple\n", b"}", b"\x8c\x05_call", _DTYPE, b"s", b"b"),
        forged(b"cbuiltins\ntuple\n", b"N}", b"\x8c\x05_call", _DTYPE, b"s\x86", b"b"),
        forged(b"cnumpy\ndtype\n\x8c\x02f4\x85R", b"N}\x8c\x05valueK\x00s\x86", b"b"),
        # More numbers than bytes, negative sizes, sizes that are no numbers, a type given as text.
        forged(_RECONSTRUCT, b"(K\x01K\x09\x85", _DTYPE, b"\x8c\x02f4\x85R", b"\x89C\x04abcdtb"),
        forged(_RECONSTRUCT, b"(K\x01J\xff\xff\xff\xff\x85", _DTYPE, b"\x8c\x02f4\x85R", b"\x89C\x04abcdtb"),
        forged(_RECONSTRUCT, b"(K\x01\x8c\x01x\x85", _DTYPE, b"\x8c\x02f4\x85R", b"\x89C\x04abcdtb"),
        forged(_RECONSTRUCT, b"(K\x01K\x01\x85\x8c\x02f4\x89C\x04abcdtb"),
        forged(_RECONSTRUCT, b"(K\x01K\x01\x85", _DTYPE, b"\x8c\x02f4\x85R", b"\x89]tb"),
        # The extension registry and persistent names lead out of the file.
        forged(b"\x82\x01"),
        forged(b"\x8c\x01xQ"),
        forged(b"Pname\n"),
        forged(b"c__main__\nCalls\n"),
        forged(b"\x8c\x05numpy\x8c\x0bndarray.dot\x93"),
        forged(b"cnumpy\nndarray\n)\x81"),
        forged(b"(inumpy\nndarray\n"),
        forged(b"(ios\nsystem\n"),
    ],
)
def test_forged_pickles_are_refused(tmp_path: Path, raw: bytes) -> None:
    stand_ins = dict(STAND_INS)
    path = tmp_path / "x.pdparams"
    path.write_bytes(raw)
    with pytest.raises(UserError):
        read_pdparams(path)
    assert stand_ins == STAND_INS
    path.write_bytes(pickle.dumps(ARRAYS, 4))
    assert same(read_pdparams(path), ARRAYS)  # the stand-ins still do what they did


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    stream = io.BytesIO()
    pickle.dump({"w": np.zeros((4, 4), np.float32)}, stream, 4)
    whole, path = stream.getvalue(), tmp_path / "x.pdparams"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"x\.pdparams: (damaged|refused)"):
            read_pdparams(path)
    rng = np.random.default_rng(0)
    for _ in range(300):
        raw = bytearray(whole)
        raw[rng.integers(len(raw) - 66)] = rng.integers(256)
        path.write_bytes(raw)
        with contextlib.suppress(UserError):
            assert all(isinstance(array, np.ndarray) for array in read_pdparams(path).values())


def test_slices_that_do_not_fit(tmp_path: Path) -> None:
    facts = {"big": {"OriginShape": (3, 4), "slices": ["big@@.0", "absent"]}}
    path = tmp_path / "x.pdparams"
    path.write_bytes(pickle.dumps({"big@@.0": np.zeros(7), "UnpackBigParamInfor@@": facts}, 2))
    with pytest.raises(UserError, match="do not fit together"):
        read_pdparams(path)
