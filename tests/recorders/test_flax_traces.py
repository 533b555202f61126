"""What an audit says of traces of real Flax models, which golden/record/flax_traces.py made; JAX is not needed."""

import sys
from pathlib import Path

import numpy as np
import pytest
from recorded import verdicts

from tf1bn import trace
from tf1bn.diagnosis import diagnose
from tf1bn.diagnosis.conclude import audit_result

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "flax"
OK = ("ok", [])
RIGHT = ["linen", "deviations", "far", "bfloat16", "mask", "devices", "nnx", "nnx_bfloat16", "nnx_by_hand"]
FORGOTTEN = ["forgotten", "forgotten_by_hand"]


def opened(name):
    return trace.open(FOLDER / f"{name}.trace")


def test_every_trace_is_looked_at():
    assert sorted(RIGHT + FORGOTTEN) == sorted(path.stem for path in FOLDER.glob("*.trace"))


@pytest.mark.parametrize("name", RIGHT)
def test_correct_layers_are_ok(name):
    names = ["norms/0", "norms/1"] if name.startswith("nnx") else ["first", "second"]
    assert verdicts(FOLDER / f"{name}.trace") == dict.fromkeys(names, OK)


@pytest.mark.parametrize("name", FORGOTTEN)
def test_statistics_that_are_not_carried_over_are_named(name):
    """The new batch_stats are dropped: each step starts with the first ones, in the run or in what `step` was told."""
    results = diagnose(FOLDER / f"{name}.trace")
    entries = audit_result(results)["layers"]
    for entry in entries:
        assert (entry["verdict"], entry["causes"][0]["id"]) == ("finding", "not-updated")
        assert "batch_stats" in entry["explanation"]
        assert "UPDATE_OPS" not in entry["explanation"]
        assert "batch_stats" in entry["causes"][0]["remedy"]


def test_what_the_traces_hold():
    linen = opened("linen")
    assert (linen.framework, list(linen.layers)) == ("Flax", ["first", "second"])
    layer = linen.layers["first"]
    assert (layer.decay, layer.epsilon, layer.fused, layer.dtype) == (0.9, 1e-5, False, "float32")
    assert (layer.recurrence, layer.variance_from) == ("weighted", "squares")
    assert opened("deviations").layers["first"].variance_from == "deviations"
    assert opened("nnx").layers["norms/1"].decay == 0.8
    assert [step.training for step in linen] == [True, True, True, False]
    # Two devices of half a batch each have the statistics of the whole.
    assert next(iter(opened("devices"))).layers["first"].inputs[0].shape == (4, 3, 3, 2)
    kinds = {step.layers["norms/0"].moments is not None for step in opened("nnx_by_hand")}
    assert kinds == {True}


def test_masks_and_bfloat16():
    first = next(iter(opened("mask"))).layers["first"]
    (weights,) = first.weights
    assert set(weights.tolist()) == {0.0, 1.0}
    kept = np.asarray(first.inputs[0])[weights > 0].astype(np.float64)
    expected = 0.9 * first.moving_mean_before + 0.1 * kept.mean(axis=0)
    np.testing.assert_allclose(first.moving_mean_after, expected, rtol=1e-5)
    second = next(iter(opened("nnx_bfloat16"))).layers["norms/0"]
    assert (second.inputs_dtype, second.outputs_dtype) == ("bfloat16", "bfloat16")
    assert second.layer.dtype == "float32"


def test_another_rule_is_not_ok(tmp_path):
    """The recorder's settings matter: with the other decay, or the squares taken for deviations, it is no longer so."""
    for name, changed in (("linen", {"decay": 0.1}), ("far", {"variance_from": "deviations"})):
        path = tmp_path / f"{name}.trace"
        with trace.Writer(path) as writer:
            source = opened(name)
            settings = {key: getattr(source.layers["first"], key) for key in ("epsilon", "recurrence", "variance_from")}
            writer.add_layer("first", **({"decay": 0.9, "fused": False} | settings | changed))
            for step in source:
                record = step.layers["first"]
                keys = [f"moving_{one}_{when}" for one in ("mean", "variance") for when in ("before", "after")]
                values = {key: getattr(record, key) for key in keys} | {"inputs": list(record.inputs)}
                writer.add_step({"first": values}, training=step.training)
        ((verdict, causes),) = verdicts(path).values()
        assert (verdict, causes[0]) == ("finding", {"linen": "momentum-flipped", "far": "cancellation"}[name])


def test_what_is_missing_is_said(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("tf1bn.recorders.flax")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "flax", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"needs JAX and Flax; install them with `pip install 'tf1bn\[flax\]'`"
    ):
        import tf1bn.recorders.flax  # noqa: F401
