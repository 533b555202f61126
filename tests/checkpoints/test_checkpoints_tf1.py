"""Checkpoints across the border, without a map of names: TF 1.15's into tf1bn, and tf1bn's into TF 1.15.

The fixtures and recordings in ``tests/golden/checkpoints`` were made by ``tests/golden/record/checkpoints.py``.
``by_tf1.json``: what the real contrib wrote, and what followed when it restored that itself. ``by_tf1bn.json``:
what tf1bn wrote, and what followed when the real contrib restored that.
"""

import json
import pathlib

import numpy as np
import pytest
import tensorflow
import tiers
from golden.record import cases, checkpoints, errors
from modes import played_in

import tf1bn

tf = tensorflow.compat.v1
FOLDER = pathlib.Path(checkpoints.FOLDER)
NETS = tiers.slow_but(list(checkpoints.NETS)[::3], list(checkpoints.NETS))
BY_TF1 = json.loads((FOLDER / "by_tf1.json").read_text("ascii"))
BY_TF1BN = json.loads((FOLDER / "by_tf1bn.json").read_text("ascii"))
SIZE_LIMIT = 4096


@pytest.fixture(params=["reference", "resource"])
def api(request):
    with played_in(request.param):
        yield cases.Api(tf, tf1bn.batch_norm, tf1bn.contrib.framework.arg_scope)


def assert_same(case, played, recorded):
    for key, got, wanted, used in errors.compared(case, played, case, recorded):
        assert used.max() <= 1, errors.description(key, got, wanted, used)


def started(result):
    return dict(result["initial"], **result["start"])


def test_the_fixtures_are_complete_and_small():
    assert list(BY_TF1["checkpoints"]) == list(checkpoints.FORMATS)
    assert list(BY_TF1BN["checkpoints"]) == list(checkpoints.NETS)
    assert BY_TF1["tensorflow"] == "1.15.5"
    assert BY_TF1BN["restored_by"] == "TensorFlow 1.15.5"
    expected = {"by_tf1.json", "by_tf1bn.json"}
    for name, version in checkpoints.FORMATS.items():
        expected |= {name} if version == "V1" else {f"{name}.index", f"{name}.data-00000-of-00001"}
    assert {path.name for path in FOLDER.iterdir()} == expected
    assert all(path.stat().st_size < SIZE_LIMIT for path in FOLDER.iterdir() if path.suffix != ".json")


@pytest.mark.parametrize("name", checkpoints.FORMATS)
def test_todays_tensorflow_reads_what_tf1_wrote(name):
    assert checkpoints.contents(tf, str(FOLDER / name)) == BY_TF1["checkpoints"][name]["written"]


@pytest.mark.parametrize("name", checkpoints.FORMATS)
def test_a_checkpoint_of_tf1_goes_on_in_tf1bn(name, api):
    """Every variable of the graph is found, holds what was written, and testing and training go on as in TF 1.15."""
    recorded = BY_TF1["checkpoints"][name]
    played = json.loads(json.dumps(checkpoints.restored(api, name, str(FOLDER))))
    assert "error" not in played, played
    written = {f"{variable}:0": values for variable, _, _, values, _ in recorded["written"]}
    assert started(played) == started(recorded["restored"])
    assert started(played).items() <= written.items()
    assert set(written) - set(started(played)) == {"global_step:0"}
    assert_same(checkpoints.case_of(name, after=True), played, recorded["restored"])


def test_a_checkpoint_of_tf1_is_not_where_a_new_graph_starts():
    """Otherwise the tests above could pass without restoring anything."""
    for name, entry in BY_TF1["checkpoints"].items():
        case = checkpoints.case_of(name, after=True)
        for variable, values in started(entry["restored"]).items():
            warm = case.start_value(variable, np.shape(values))
            assert values != entry["restored"]["initial"][variable], (name, variable)
            if not variable.endswith("local_step:0"):
                assert np.abs(np.array(values) - warm).max() > 1e-3, (name, variable)


@pytest.mark.parametrize("name", NETS)
def test_tf1bn_still_writes_what_tf1_restored(name, api, tmp_path):
    """Names, shapes and dtypes exactly; values as far as rounding leaves them, exactly where nothing is computed."""
    entry = BY_TF1BN["checkpoints"][name]
    case = checkpoints.case_of(name, after=False)
    played = cases.play(api, case, save=checkpoints.save(api, name, str(tmp_path)))
    assert "error" not in played, played
    written = checkpoints.contents(tf, str(tmp_path / name))
    assert [row[:3] for row in written] == [row[:3] for row in entry["written"]]
    assert {f"{row[0]}:0": row[3] for row in written} == last_values(played)
    assert {f"{row[0]}:0": row[3] for row in entry["written"]} == last_values(entry["training"])
    assert_same(case, json.loads(json.dumps(played)), entry["training"])
    for (variable, *_, here), (*_, there) in zip(written, entry["written"], strict=True):
        if variable.endswith(("beta", "gamma", "local_step")):
            assert here == there, variable


def last_values(result):
    state = started(result)
    for step in result["steps"]:
        state.update(step["variables"])
    return state


@pytest.mark.parametrize("name", NETS)
def test_tf1_restored_what_tf1bn_wrote(name):
    """In TF 1.15 every variable got the bytes that tf1bn wrote."""
    entry = BY_TF1BN["checkpoints"][name]
    dtypes = {variable: dtype for variable, _, dtype, _, _ in entry["written"]}
    for variable, shape, dtype, values, digest in entry["written"]:
        assert checkpoints.digest(cases.array_of(values, dtype).reshape(shape)) == digest, variable
    assert {f"{row[0]}:0": row[3] for row in entry["written"]} == started(entry["restored"])
    assert sorted(name for name, _, _ in entry["restored"]["graph"]["variables"]) == sorted(f"{n}:0" for n in dtypes)


@pytest.mark.parametrize("name", NETS)
def test_what_tf1_did_with_it_is_what_tf1bn_does(name, api):
    """From the values that tf1bn wrote, testing and training go on as they did in TF 1.15."""
    entry = BY_TF1BN["checkpoints"][name]
    case = checkpoints.case_of(name, after=True)
    values = started(entry["restored"])

    def give(session):
        variables = session.graph.get_collection("variables")
        cases.assign(session, [(v, np.reshape(values[v.name], cases.shape_of(v.shape))) for v in variables])

    played = json.loads(json.dumps(cases.play(api, case, restore=give)))
    assert_same(case, played, entry["restored"])
