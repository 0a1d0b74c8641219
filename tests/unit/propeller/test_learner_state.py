"""State of a run: resuming it bit for bit, and loading parameters."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from helpers.learner_runs import make, run
from helpers.paths import environment
from helpers.propeller_toy import batch, infer_task
from propeller.errors import UserError


def test_a_fresh_process_goes_on_bit_for_bit(tmp_path: Path) -> None:
    straight = make()
    expected = run(straight, range(10))
    half = make()
    assert run(half, range(5)) == expected[:5]
    tensors, meta = half.state()
    save_file(tensors, tmp_path / "state.safetensors")
    (tmp_path / "state.json").write_text(json.dumps(meta))

    code = (
        "from helpers.learner_runs import resume\nfrom pathlib import Path\nimport json\n"
        f"print(json.dumps(resume(Path({str(tmp_path)!r}), range(5, 10))))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [tuple(pair) for pair in json.loads(done.stdout.splitlines()[-1])] == expected[5:]
    tensors, meta = straight.state()
    resumed = load_file(tmp_path / "end.safetensors")
    assert resumed.keys() == tensors.keys()
    assert sum(name.endswith("@moment1") for name in tensors) == 9
    for name, array in tensors.items():
        np.testing.assert_array_equal(resumed[name], array, err_msg=name)
    assert json.loads((tmp_path / "end.json").read_text()) == meta


def test_a_used_learner_goes_back_in_time() -> None:
    learner = make()
    run(learner, range(2))
    tensors, meta = learner.state()
    expected = run(learner, range(2, 6))
    # The second task had not been trained when the state was taken: its moments have to start from zero again.
    assert not any(name.startswith("second.weight@") for name in tensors)
    learner.restore(tensors, meta)
    assert learner.step == 2
    assert run(learner, range(2, 6)) == expected


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    learner = make()
    run(learner, range(2))
    tensors, meta = learner.state()
    before = learner.digest()
    without = {name: array for name, array in tensors.items() if not name.startswith("second")}
    bad_shape = tensors | {"head.weight@moment2": np.zeros(3, np.float32)}
    for given, document, says in [
        (tensors, meta | {"seed": 4}, "with seed 4, this run has 3"),
        (tensors, meta | {"format": 0}, "format 0"),
        (tensors, meta | {"precision": {"dtype": "float16", "level": "O1"}}, "precision"),
        (tensors, meta | {"step": -1}, "counter 'step'"),
        (without, meta, r"2 missing \['second.bias', 'second.weight'\]"),
        (tensors | {"more": np.zeros(3, np.float32)}, meta, r"1 unknown \['more'\]"),
        (tensors | {"more@moment1": np.zeros(3, np.float32)}, meta, "'more@moment1' belongs to no parameter"),
        (bad_shape, meta, "'head.weight@moment2' has shape"),
    ]:
        with pytest.raises(UserError, match=says):
            learner.restore(given, document)
    assert learner.digest() == before
    assert learner.step == 2


def test_loading_parameters_reports_what_did_not_fit() -> None:
    source, target = make(seed=1), make(seed=2)
    arrays = source.parameters()
    del arrays["second.bias"]
    arrays["pooler"] = np.zeros(2, np.float32)
    arrays["head.weight"] = arrays["head.weight"].T.copy()
    arrays["body.hidden.weight"] = arrays["body.hidden.weight"].astype(np.float64)
    before = target.parameters()
    report = target.load_parameters(arrays)
    assert (report.missing, report.unexpected) == (["second.bias"], ["pooler"])
    assert report.mismatched == [("head.weight", (16, 3), (3, 16))]
    assert not report.complete
    after = target.parameters()
    assert report.matched == sorted(set(before) - {"second.bias", "head.weight"})
    for name, array in after.items():
        np.testing.assert_array_equal(array, (arrays if name in report.matched else before)[name])
        assert array.dtype == np.float32
    # Programs that were built before see the new values too.
    target.add(infer_task(dropout=0.3))
    source.add(infer_task(dropout=0.3))
    assert target.load_parameters(source.parameters()).complete
    one, two = (learner.infer("guess", batch(0))["probabilities"] for learner in (source, target))
    np.testing.assert_array_equal(one, two)
    assert source.evaluate("toy", [batch(1)]) == target.evaluate("toy", [batch(1)])
