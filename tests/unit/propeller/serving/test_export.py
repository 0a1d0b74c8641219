"""Exported programs give what the training graph gives in eval mode, for all sizes, with and without oneDNN."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import paddle
import pytest

from helpers.propeller_toy import batch, infer_task, task
from propeller.errors import UserError
from propeller.graph.inputs import Input
from propeller.graph.optim import OptimizerConfig
from propeller.graph.spec import ProgramSpec
from propeller.learner import Learner
from propeller.serving.export import export_program
from propeller.serving.predictor import Predictor

HIDDEN, HEADS = 32, 4


def _attr(name: str) -> Any:
    return paddle.ParamAttr(name=name, initializer=paddle.nn.initializer.Normal(std=0.3))


class Block(paddle.nn.Layer):
    """Masked self-attention and a feed-forward part: the operators that oneDNN and Paddle's passes rewrite."""

    def __init__(self) -> None:
        super().__init__()
        self.table = paddle.nn.Embedding(50, HIDDEN, weight_attr=_attr("table"))
        self.parts = paddle.nn.LayerList(
            [
                paddle.nn.Linear(i, o, weight_attr=_attr(f"w{n}"), bias_attr=_attr(f"b{n}"))
                for n, (i, o) in enumerate(
                    [(HIDDEN, HIDDEN)] * 4 + [(HIDDEN, 4 * HIDDEN), (4 * HIDDEN, HIDDEN)], start=1
                )
            ]
        )
        self.norm = paddle.nn.LayerNorm(HIDDEN, weight_attr=_attr("n.w"), bias_attr=_attr("n.b"))
        self.dropout = paddle.nn.Dropout(0.5)

    def forward(self, x_BT: Any, mask_BT: Any) -> Any:
        h_BTH = self.dropout(self.table(x_BT))
        bias = ((mask_BT.astype("float32") - 1.0) * 1e4).unsqueeze([1, 2])
        q, k, v = (
            part(h_BTH).reshape([0, 0, HEADS, HIDDEN // HEADS]).transpose([0, 2, 1, 3]) for part in self.parts[:3]
        )
        weights = paddle.nn.functional.softmax(q.matmul(k, transpose_y=True) * (HIDDEN // HEADS) ** -0.5 + bias)
        context = self.dropout(weights).matmul(v).transpose([0, 2, 1, 3]).reshape([0, 0, HIDDEN])
        h_BTH = self.norm(h_BTH + self.dropout(self.parts[3](context)))
        return self.norm(h_BTH + self.parts[5](paddle.nn.functional.gelu(self.parts[4](h_BTH))))


def attention_task() -> ProgramSpec:
    def forward(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        h_BTH = model(inputs["x"], inputs["mask"])
        first = paddle.tanh(h_BTH[:, 0])
        # The same variable under two names, and an input among the outputs.
        return {"hidden": h_BTH, "first": first, "again": first, "mask": inputs["mask"]}

    inputs = (
        Input("x", (None, None), "int64"),
        Input("mask", (None, None), "int64"),
        Input("unused", (None, None), "int64"),
    )
    return ProgramSpec("attend", inputs, Block, forward)


def attention_batch(rows: int, length: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([rows, length])
    mask = (np.arange(length)[None] < rng.integers(1, length + 1, (rows, 1))).astype(np.int64)
    return {"x": rng.integers(0, 50, (rows, length)), "mask": mask, "unused": mask}


@pytest.fixture(scope="module")
def learner() -> Learner:
    learner = Learner(OptimizerConfig(), seed=1)
    learner.add(attention_task())
    return learner


@pytest.fixture(scope="module")
def exported(learner: Learner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_program(
        tmp_path_factory.mktemp("export") / "model",
        attention_task(),
        learner.parameters(),
        metadata={"labels": ["a", "b"]},
        documents={"config.json": {"hidden": HIDDEN}},
    )


@pytest.mark.parametrize(
    ("onednn", "precision", "tolerance"), [(False, "float32", 2e-5), (True, "float32", 2e-5), (True, "bfloat16", 0.1)]
)
def test_equals_the_executor(learner: Learner, exported: Path, onednn: bool, precision: Any, tolerance: float) -> None:
    predictor = Predictor(exported, "cpu", onednn=onednn, precision=precision, threads=1)
    assert predictor.metadata == {"labels": ["a", "b"]}
    for rows, length in [(2, 7), (1, 1), (5, 33), (1, 33), (2, 7)]:
        fed = attention_batch(rows, length)
        expected, found = learner.infer("attend", fed), predictor.run(fed)
        assert list(found) == ["hidden", "first", "again", "mask"]
        for name, array in expected.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_allclose(found[name], array, atol=tolerance, rtol=0)
        assert expected["hidden"].std() > 0.1
        np.testing.assert_array_equal(found["mask"], fed["mask"])


def test_an_export_between_steps_changes_no_training(tmp_path: Path) -> None:
    def losses(export: bool) -> list[float]:
        learner = Learner(OptimizerConfig(), seed=5)
        learner.add(task(dropout=0.3))
        values = []
        for number in range(4):
            if export:
                path = export_program(tmp_path / "out", infer_task(dropout=0.3), learner.parameters())
                learner_says = infer(learner, number)
                found = Predictor(path, "cpu", threads=1).run({"x": batch(number)["x"]})
                np.testing.assert_allclose(found["probabilities"], learner_says, atol=1e-6, rtol=0)
            values.append(learner.train_step("toy", [batch(number)], 0.1).loss)
        return values

    def infer(learner: Learner, number: int) -> np.ndarray:
        if number == 0:
            learner.add(infer_task(dropout=0.3))
        return learner.infer("guess", {"x": batch(number)["x"]})["probabilities"]

    assert losses(export=True) == losses(export=False)


def test_what_lies_in_the_directory(exported: Path, learner: Learner) -> None:
    description = json.loads((exported / "export.json").read_text())
    assert set(description["sha256"]) == {"model.json", "model.pdiparams", "config.json"}
    assert [item["name"] for item in description["inputs"]] == ["x", "mask"]
    assert description["unused_inputs"] == ["unused"]
    assert not [entry for entry in exported.parent.iterdir() if entry.name.startswith(".tmp")]
    again = export_program(exported, attention_task(), learner.parameters(), documents={"config.json": 1})
    assert json.loads((again / "config.json").read_text()) == 1
    hashes = json.loads((again / "export.json").read_text())["sha256"]
    assert hashes["model.pdiparams"] == description["sha256"]["model.pdiparams"]  # the same parameters


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": None}, "input 'x' is missing"),
        ({"x": np.zeros((2, 3), np.int32)}, "input 'x' has dtype int32, declared is int64"),
        ({"x": np.zeros(3, np.int64)}, r"input 'x' has shape \(3,\), declared is \(any, any\)"),
        ({"y": np.zeros(3, np.int64)}, "no input is called 'y'; the inputs are x, mask"),
        ({"mask": np.ones((2, 4), np.int64)}, r"cannot run on these sizes \(x \(2, 3\), mask \(2, 4\)\): "),
    ],
)
def test_wrong_batches(exported: Path, change: dict[str, Any], message: str) -> None:
    predictor = Predictor(exported, "cpu", threads=1, onednn=False)
    fed = {**attention_batch(2, 3), **change}
    with pytest.raises(UserError, match=message) as caught:
        predictor.run({name: array for name, array in fed.items() if array is not None})
    assert "\n" not in str(caught.value)
    assert predictor.run(attention_batch(2, 3))["first"].shape == (2, HIDDEN)  # it still works


def test_wrong_exports(learner: Learner, tmp_path: Path) -> None:
    parameters = learner.parameters()
    with pytest.raises(UserError, match=r"there is no parameter 'n\.w'"):
        export_program(tmp_path / "a", attention_task(), {k: v for k, v in parameters.items() if k != "n.w"})
    with pytest.raises(UserError, match=r"'n.w' has shape \(3,\), needed is \(32,\)"):
        export_program(tmp_path / "a", attention_task(), {**parameters, "n.w": np.zeros(3, np.float32)})
    with pytest.raises(UserError, match="return its outputs by name"):
        export_program(tmp_path / "a", task(), parameters)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="exists and is not an export"):
        export_program(tmp_path / "notes", attention_task(), parameters)
    assert (tmp_path / "notes" / "mine.txt").read_text() == "keep"


def test_wrong_directories_and_devices(exported: Path, learner: Learner, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not an exported model"):
        Predictor(tmp_path)
    damaged = export_program(tmp_path / "d", attention_task(), learner.parameters())
    content = bytearray((damaged / "model.pdiparams").read_bytes())
    content[-1] ^= 1
    (damaged / "model.pdiparams").write_bytes(content)
    with pytest.raises(UserError, match=r"model\.pdiparams: SHA-256 differs"):
        Predictor(damaged)
    description = json.loads((damaged / "export.json").read_text())
    (damaged / "export.json").write_text(json.dumps({**description, "sha256": {"../words.txt": "0" * 64}}))
    with pytest.raises(UserError, match=r"names a file outside of the directory \('\.\./words\.txt'\)"):
        Predictor(damaged)
    with pytest.raises(UserError, match="float16 needs a GPU"):
        Predictor(exported, "cpu", precision="float16")
    if not paddle.is_compiled_with_cuda():
        with pytest.raises(UserError, match="no GPU is visible"):
            Predictor(exported, "gpu")


@pytest.mark.parametrize(("given", "number"), [("1", 1), ("0", 0), (None, 0)])
def test_each_process_takes_the_gpu_that_the_launcher_gave_it(
    exported: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, number: int
) -> None:
    """With what Paddle would do on a machine with two GPUs, where a launcher does not hide the other one."""
    from paddle import inference

    taken: list[int] = []

    class Config(inference.Config):
        def enable_use_gpu(self, _memory: int, device: int, _precision: Any) -> None:
            taken.append(device)

    if given is None:
        monkeypatch.delenv("FLAGS_selected_gpus", raising=False)
    else:
        monkeypatch.setenv("FLAGS_selected_gpus", given)
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(paddle, "CUDAPlace", lambda index: SimpleNamespace(get_device_id=lambda: index))
    monkeypatch.setattr(inference, "Config", Config)
    assert Predictor(exported).device == "gpu"
    assert taken == [number]
