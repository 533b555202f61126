"""Checkpoints across the border for ``batch_normalization``, without a map of names, as in test_checkpoints_tf1.py.

``tests/golden/record/layers_checkpoints.py`` made the fixtures: ``by_tf1.json`` is what the real ``tf.layers`` of
1.15.5 wrote and what followed when it restored that itself, ``by_tf1bn.json`` what tf1bn wrote and what it did there.
"""

import json
import pathlib

import numpy as np
import pytest
import tensorflow
import tiers
from golden.record import cases, checkpoints, errors, layers_cases, layers_checkpoints, layers_errors
from modes import played_in

import tf1bn
from tf1bn.checkpoints import audit as judge

tf = tensorflow.compat.v1
FOLDER = pathlib.Path(layers_checkpoints.FOLDER)
NETS = tiers.slow_but(list(layers_checkpoints.NETS)[::3], list(layers_checkpoints.NETS))
BY_TF1 = json.loads((FOLDER / "by_tf1.json").read_text("ascii"))
BY_TF1BN = json.loads((FOLDER / "by_tf1bn.json").read_text("ascii"))


@pytest.fixture(params=["reference", "resource"])
def api(request):
    with played_in(request.param):
        yield layers_cases.Api(tf, tf1bn.batch_normalization, tf1bn.arg_scope)


def assert_same(case, played, recorded):
    bounds_of = layers_errors.errors_for(case)
    for key, got, wanted, used in errors.compared(case, played, case, recorded, bounds_of=bounds_of):
        assert used.max() <= 1, errors.description(key, got, wanted, used)


def started(result):
    return dict(result["initial"], **result["start"])


@pytest.mark.parametrize("name", NETS)
def test_honest_checkpoints_are_judged_ok(name):
    """With several axes the variables are no vectors, and nothing is wrong with that."""
    result = judge.audit_checkpoint(str(FOLDER / name))
    assert [layer["verdict"] for layer in result["layers"]] == ["ok"] * (2 if name == "unnamed" else 1)
    if name == "several_axes":
        assert "Nothing is wrong with the 9 channels" in result["layers"][0]["explanation"]


def test_several_axes_must_be_the_same_for_all_variables(tmp_path):
    one = {f"net/bn/{k}": np.full((1, 3, 1, 4), 0.3, np.float32) for k in ("beta", "gamma", "moving_mean")}
    one["net/bn/moving_variance"] = np.full((1, 4, 1, 3), 0.7, np.float32)
    np.savez(tmp_path / "one.npz", **one)
    (layer,) = judge.audit_checkpoint(str(tmp_path / "one.npz"))["layers"]
    assert layer["causes"][0]["id"] == "wrong-axis"


def last_values(result):
    state = started(result)
    for step in result["steps"]:
        state.update(step["variables"])
    return state


def test_the_fixtures_are_complete_and_small():
    assert list(BY_TF1["checkpoints"]) == list(BY_TF1BN["checkpoints"]) == list(layers_checkpoints.NETS)
    assert BY_TF1["tensorflow"] == "1.15.5"
    assert BY_TF1BN["restored_by"] == "TensorFlow 1.15.5"
    expected = {"by_tf1.json", "by_tf1bn.json"}
    for name in layers_checkpoints.NETS:
        expected |= {f"{name}.index", f"{name}.data-00000-of-00001"}
    assert {path.name for path in FOLDER.iterdir()} == expected


@pytest.mark.parametrize("name", NETS)
def test_a_checkpoint_of_tf1_goes_on_in_tf1bn(name, api):
    """Every variable of the graph is found, holds what was written, and testing and training go on as in TF 1.15."""
    recorded = BY_TF1["checkpoints"][name]
    assert checkpoints.contents(tf, str(FOLDER / name)) == recorded["written"]
    played = json.loads(json.dumps(layers_checkpoints.restored(api, name, str(FOLDER))))
    assert "error" not in played, played
    written = {f"{variable}:0": values for variable, _, _, values, _ in recorded["written"]}
    assert started(played) == started(recorded["restored"])
    assert started(played).items() <= written.items()
    assert set(written) - set(started(played)) == {"global_step:0"}
    assert_same(layers_checkpoints.case_of(name, after=True), played, recorded["restored"])


def test_a_checkpoint_of_tf1_is_not_where_a_new_graph_starts():
    """Otherwise the tests above could pass without restoring anything."""
    for name, entry in BY_TF1["checkpoints"].items():
        case = layers_checkpoints.case_of(name, after=True)
        for variable, values in started(entry["restored"]).items():
            assert values != entry["restored"]["initial"][variable], (name, variable)
            assert np.abs(np.array(values) - case.start_value(variable, np.shape(values))).max() > 1e-3, (
                name,
                variable,
            )


@pytest.mark.parametrize("name", NETS)
def test_tf1bn_still_writes_what_tf1_restored(name, api, tmp_path):
    entry = BY_TF1BN["checkpoints"][name]
    case = layers_checkpoints.case_of(name, after=False)
    played = cases.play(api, case, save=layers_checkpoints.save(api, name, str(tmp_path)))
    assert "error" not in played, played
    written = checkpoints.contents(tf, str(tmp_path / name))
    assert [row[:3] for row in written] == [row[:3] for row in entry["written"]]
    assert {f"{row[0]}:0": row[3] for row in written} == last_values(played)
    assert_same(case, json.loads(json.dumps(played)), entry["training"])


@pytest.mark.parametrize("name", NETS)
def test_tf1_went_on_with_what_tf1bn_wrote(name, api):
    """In TF 1.15 every variable got the bytes that tf1bn wrote; from them tf1bn goes on as TF 1.15 did."""
    entry = BY_TF1BN["checkpoints"][name]
    for variable, shape, dtype, values, digest in entry["written"]:
        assert checkpoints.digest(cases.array_of(values, dtype).reshape(shape)) == digest, variable
    values = started(entry["restored"])
    assert {f"{row[0]}:0": row[3] for row in entry["written"]} == values

    def give(session):
        variables = session.graph.get_collection("variables")
        cases.assign(session, [(v, np.reshape(values[v.name], cases.shape_of(v.shape))) for v in variables])

    case = layers_checkpoints.case_of(name, after=True)
    assert_same(case, json.loads(json.dumps(cases.play(api, case, restore=give))), entry["restored"])
