"""The Learner: steps against a direct computation, cuts into micro-batches, evaluation, inference, mistakes."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from typing import Any

import numpy as np
import paddle
import pytest

from helpers.propeller_toy import IGNORE, batch, cut, infer_task, task
from propeller.device import static
from propeller.errors import UserError
from propeller.graph.inputs import Input
from propeller.graph.losses import LossTerm
from propeller.graph.optim import OptimizerConfig, ParameterRules
from propeller.graph.spec import ProgramSpec
from propeller.learner import Learner

PLAIN = OptimizerConfig(weight_decay=0.01, clip_norm=1.0)


def make(
    *tasks: ProgramSpec, optimizer: OptimizerConfig = PLAIN, seed: int = 3, rules: ParameterRules | None = None
) -> Learner:
    learner = Learner(optimizer, seed=seed, rules=rules)
    for item in tasks or (task(),):
        learner.add(item)
    return learner


# -------------------------------------------------------------------------------- a direct computation of the training


def _linear_task() -> ProgramSpec:
    """logits = table[x] @ w + b, one label per row; gradients are easy to write down."""

    class Model(paddle.nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.table = paddle.nn.Embedding(9, 4, weight_attr=paddle.ParamAttr(name="table"))
            self.linear = paddle.nn.Linear(
                4, 3, weight_attr=paddle.ParamAttr(name="w"), bias_attr=paddle.ParamAttr(name="b")
            )

    def forward(model: Any, inputs: dict[str, Any]) -> list[LossTerm]:
        logits = model.linear(model.table(inputs["x"]))
        loss = paddle.nn.functional.cross_entropy(logits, inputs["y"], reduction="sum", ignore_index=IGNORE)
        return [LossTerm("nll", loss, "y"), LossTerm("size", paddle.square(logits).sum(), "x", weight=0.25)]

    return ProgramSpec(
        "linear", [Input("x", (None,), "int64"), Input("y", (None,), "int64", ignore=IGNORE)], Model, forward
    )


class _Reference:
    """float64 training of that model by the formulas of OptimizerConfig."""

    def __init__(self, parameters: dict[str, np.ndarray], config: OptimizerConfig, rules: ParameterRules) -> None:
        self.p = {name: array.astype(np.float64) for name, array in parameters.items()}
        self.m = {name: np.zeros_like(array) for name, array in self.p.items()}
        self.v = {name: np.zeros_like(array) for name, array in self.p.items()}
        self.config, self.rules, self.t = config, rules, 0

    def step(self, x: np.ndarray, y: np.ndarray, lr: float) -> tuple[float, float]:
        config, p = self.config, self.p
        hidden = p["table"][x]
        logits = hidden @ p["w"] + p["b"]
        shifted = np.exp(logits - logits.max(1, keepdims=True))
        probabilities = shifted / shifted.sum(1, keepdims=True)
        real, rows = y != IGNORE, np.arange(len(y))
        nll = -np.log(probabilities[rows, np.where(real, y, 0)])[real].sum() / real.sum()
        loss = nll + 0.25 * (logits**2).sum() / len(x)
        d_logits = probabilities.copy()
        d_logits[rows, np.where(real, y, 0)] -= 1
        d_logits = d_logits * real[:, None] / real.sum() + 0.25 * 2 * logits / len(x)
        g = {"w": hidden.T @ d_logits, "b": d_logits.sum(0), "table": np.zeros_like(p["table"])}
        np.add.at(g["table"], x, d_logits @ p["w"].T)
        norm = np.sqrt(sum((array**2).sum() for array in g.values()))
        self.t += 1
        b1, b2 = config.betas
        for name, array in g.items():
            if config.clip_norm is not None:
                array = array * config.clip_norm / max(norm, config.clip_norm)
            ratio = self.rules.lr_ratio(name, array.shape) if self.rules.lr_ratio else 1.0
            if self.rules.decays(name, array.shape):
                p[name] *= 1 - lr * ratio * config.weight_decay
            self.m[name] = b1 * self.m[name] + (1 - b1) * array
            self.v[name] = b2 * self.v[name] + (1 - b2) * array**2
            m_hat, v_hat = self.m[name] / (1 - b1**self.t), self.v[name] / (1 - b2**self.t)
            p[name] -= lr * ratio * m_hat / (np.sqrt(v_hat) + config.epsilon)
        return float(loss), float(norm)


@pytest.mark.parametrize(
    ("config", "rules"),
    [
        # An epsilon as large as the moments shows whether it is added before or after the bias correction.
        (OptimizerConfig(betas=(0.8, 0.95), epsilon=0.05, weight_decay=0.3, clip_norm=0.4), ParameterRules()),
        (
            OptimizerConfig(epsilon=1e-6, weight_decay=0.5, clip_norm=None),
            ParameterRules(lr_ratio=lambda name, _: {"w": 0.25}.get(name, 2)),
        ),
        (OptimizerConfig("adam", weight_decay=0.0, clip_norm=100.0), ParameterRules()),
        (OptimizerConfig(weight_decay=0.7), ParameterRules(decays=lambda name, _: name == "b")),
    ],
    ids=["clip", "ratio", "adam", "predicate"],
)
@pytest.mark.parametrize("pieces", [(), (3, 1)], ids=["whole", "micro"])
def test_steps_equal_a_direct_computation(
    config: OptimizerConfig, rules: ParameterRules, pieces: tuple[int, ...]
) -> None:
    learner = make(_linear_task(), optimizer=config, rules=rules)
    reference = _Reference(learner.parameters(), config, rules)
    rng = np.random.default_rng(5)
    for step in range(1, 9):
        x, y = rng.integers(0, 9, 10), rng.integers(0, 3, 10)
        y[rng.random(10) < 0.3] = IGNORE
        lr = 0.05 / step
        result = learner.train_step("linear", cut({"x": x, "y": y}, *pieces), lr)
        loss, norm = reference.step(x, y, lr)
        assert result.loss == pytest.approx(loss, abs=2e-6)
        assert result.grad_norm == pytest.approx(norm, abs=3e-6)
        assert result.counts == {"nll": int((y != IGNORE).sum()), "size": 10}
        assert (result.step, result.finite, result.loss_scale) == (step, True, 1.0)
    for name, array in learner.parameters().items():
        np.testing.assert_allclose(array, reference.p[name], atol=3e-6)


def test_any_cut_gives_the_same_training() -> None:
    whole, halves, uneven = make(), make(), make()
    for step in range(6):
        rows = batch(step)
        results = [
            whole.train_step("toy", [rows], 0.01),
            halves.train_step("toy", cut(rows, 6), 0.01),
            uneven.train_step("toy", cut(rows, 1, 9), 0.01),
        ]
        for other in results[1:]:
            assert other.losses == pytest.approx(results[0].losses, rel=1e-5)
            assert other.metrics == results[0].metrics
            assert other.grad_norm == pytest.approx(results[0].grad_norm, rel=1e-5)
    for learner in (halves, uneven):
        for name, array in learner.parameters().items():
            np.testing.assert_allclose(array, whole.parameters()[name], atol=1e-5, err_msg=name)


def test_a_term_without_labels_adds_nothing() -> None:
    rows = batch(0)
    rows["y"][:] = IGNORE
    result = make().train_step("toy", [rows], 0.01)
    assert set(result.losses) == {"first"}
    assert result.metrics == {}
    assert result.finite
    assert result.loss == pytest.approx(0.5 * result.losses["first"])


# ----------------------------------------------------------------------------------------------- evaluation, inference


def test_evaluation_is_the_mean_over_all_labels() -> None:
    learner = make(task(dropout=0.5))
    whole = batch(0, 30)
    cut_up = learner.evaluate("toy", cut(whole, 3, 20))
    assert cut_up == pytest.approx(learner.evaluate("toy", [whole]), rel=1e-6)
    guess = make(infer_task(), seed=3).infer("guess", whole)["probabilities"].astype(np.float64)
    real = whole["y"] != IGNORE
    assert cut_up["class_count"] == real.sum()
    assert cut_up["class"] == pytest.approx(-np.log(guess[real, whole["y"][real]]).mean(), rel=1e-6)
    assert cut_up["class_accuracy"] == pytest.approx((guess.argmax(1) == whole["y"])[real].mean())
    kept = whole["z"] != -1
    assert cut_up["first"] == pytest.approx(((guess[:, 0] - whole["z"]) ** 2)[kept].mean(), rel=1e-6)
    assert cut_up["loss"] == pytest.approx(cut_up["class"] + 0.5 * cut_up["first"])


def test_inference_between_steps_sees_the_parameters_and_changes_nothing() -> None:
    tasks = task(dropout=0.2), infer_task(dropout=0.2)
    watched, alone = make(*tasks), make(*tasks)
    seen = []
    for step in range(4):
        assert watched.train_step("toy", [batch(step)], 0.05) == alone.train_step("toy", [batch(step)], 0.05)
        seen.append(watched.infer("guess", batch(99))["probabilities"])
        watched.evaluate("toy", [batch(98)])
    assert all(np.abs(one - two).max() > 1e-4 for one, two in itertools.pairwise(seen))
    np.testing.assert_array_equal(seen[-1], alone.infer("guess", batch(99))["probabilities"])


# ---------------------------------------------------------------------------------------------- seeds, initial values


def test_initial_values_depend_on_seed_and_name_alone() -> None:
    first, second = task(), task("second", head="second", classes=5)
    both, reverse, late = make(first, second), make(second, first), make(first)
    values = both.parameters()
    late.train_step("toy", [batch(0)], 0.0)
    late.add(second)
    for learner in (reverse, late):
        assert learner.parameters().keys() == values.keys()
        for name, array in learner.parameters().items():
            np.testing.assert_array_equal(array, values[name], err_msg=name)
    assert np.abs(values["body.embedding.weight"][:16] - values["body.hidden.weight"]).max() > 0.1
    assert np.std(values["body.embedding.weight"]) == pytest.approx(0.3, rel=0.15)
    other = make(first, seed=4).parameters()
    assert np.abs(other["body.embedding.weight"] - values["body.embedding.weight"]).max() > 0.1


def test_dropout_depends_on_seed_step_and_micro_batch_alone() -> None:
    def losses(seed: int, disturbed: bool = False) -> list[float]:
        learner = make(task(dropout=0.5), seed=seed)
        found = []
        for _ in range(3):
            if disturbed:
                paddle.seed(11)
                learner.evaluate("toy", [batch(5)])
            # With rate 0 the parameters stay, so that only dropout can make a difference.
            found += [learner.train_step("toy", [batch(0)], 0.0).loss]
            found += [learner.train_step("toy", [batch(0), batch(0)], 0.0).loss]
        return found

    base = losses(3)
    assert len(set(base)) == 6
    assert losses(3, disturbed=True) == base
    # The two micro-batches of a step have masks of their own, else their mean would be that of one of them alone.
    learner = make(task(dropout=0.5))
    single = learner.train_step("toy", [batch(0)], 0.0).loss
    assert single == base[0]
    assert make(task(dropout=0.5)).train_step("toy", [batch(0), batch(0)], 0.0).loss != pytest.approx(single, rel=1e-4)


# ---------------------------------------------------------------------------------------------- mistakes and accidents


def test_a_step_that_breaks_off_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    broken, clean = make(), make()
    for learner in (broken, clean):
        learner.train_step("toy", cut(batch(0), 5), 0.01)
    run = broken._run

    def interrupt(built: Any, *arguments: Any) -> Any:
        if built.kind == "apply":
            raise KeyboardInterrupt
        return run(built, *arguments)

    monkeypatch.setattr(broken, "_run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        broken.train_step("toy", cut(batch(1), 5), 0.01)
    monkeypatch.undo()
    for learner in (broken, clean):
        learner.train_step("toy", cut(batch(2), 5), 0.01)
    assert broken.digest() == clean.digest()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"y": None}, "micro-batch 0: input 'y' is missing"),
        ({"x": np.zeros((12, 6), np.int32)}, "input 'x' has dtype int32, declared is int64"),
        ({"x": np.zeros(12, np.int64)}, r"input 'x' has shape \(12,\), declared is \(any, any\)"),
        ({"z": [0.5] * 12}, "input 'z' is a list"),
    ],
)
def test_a_wrong_batch_is_named(change: dict[str, Any], says: str) -> None:
    rows = {name: array for name, array in (batch(0) | change).items() if array is not None}
    with pytest.raises(UserError, match=says):
        make().train_step("toy", [rows], 0.01)


def test_other_mistakes_are_explained() -> None:
    learner = make(task(), infer_task())
    with pytest.raises(UserError, match=r"no task 'tot'; known are \['guess', 'toy'\]"):
        learner.train_step("tot", [batch(0)], 0.01)
    with pytest.raises(UserError, match="two tasks called 'toy'"):
        learner.add(task())
    with pytest.raises(UserError, match="at least one micro-batch"):
        learner.train_step("toy", [], 0.01)
    with pytest.raises(UserError, match="learning rate nan"):
        learner.train_step("toy", [batch(0)], float("nan"))
    with pytest.raises(UserError, match="cannot infer"):
        learner.infer("toy", batch(0))
    with pytest.raises(UserError, match="cannot be trained"):
        learner.train_step("guess", [batch(0)], 0.01)
    with pytest.raises(UserError, match="the evaluation data has no labels"):
        learner.evaluate("toy", [])
    learner.add(task("wide", classes=4))
    with pytest.raises(UserError, match=r"'head.bias' has shape \(4,\) here, but \(3,\) in an earlier"):
        learner.train_step("wide", [batch(0)], 0.01)
    learner.add(ProgramSpec("unnamed", INPUTS, lambda: paddle.nn.Linear(3, 3), lambda model, inputs: []))
    with pytest.raises(UserError, match="has no name of its own"):
        learner.train_step("unnamed", [batch(0)], 0.01)


INPUTS = task().inputs


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": "lamb"}, "none of adamw, adam"),
        ({"name": "adam"}, "'adam' has no weight decay"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"epsilon": 0.0}, "epsilon"),
    ],
)
def test_refused_optimizers(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        OptimizerConfig(**arguments)


def test_old_paddle_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paddle, "__version__", "2.6.2")
    with pytest.raises(UserError, match=r"PaddlePaddle 2\.6\.2 is too old"):
        static.enable()


def test_legacy_graphs_are_refused() -> None:
    code = (
        "from propeller.learner import Learner\nfrom propeller.graph.optim import OptimizerConfig, ParameterRules\n"
        "try: Learner(OptimizerConfig(), seed=0)\nexcept ValueError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"FLAGS_enable_pir_api": "0"}, capture_output=True, text=True
    )
    assert "PIR is switched off; unset FLAGS_enable_pir_api" in done.stdout, done.stderr
