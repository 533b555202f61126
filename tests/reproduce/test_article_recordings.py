"""The article's listing as real TensorFlow 1.3.0, 1.4.0, 1.15.0 and 1.15.5 ran it, and as tf1bn runs it now.

The recordings in ``tests/golden/article`` were made by ``tests/golden/record/listing.py`` under each of those
releases. They are compared with the numbers that the article printed, with each other, with the layer's
formula, and with ``tf1bn.batch_norm`` on the installed TensorFlow, which runs the same listing. Tolerances:
``tests/golden/record/bounds.py``.
"""

import json
import pathlib

import numpy as np
import pytest
import tensorflow
from golden.record import bounds, listing

import tf1bn

tf = tensorflow.compat.v1
FOLDER = pathlib.Path(listing.GOLDEN) / "article"
RELEASES = {"1.3.0": "2.7.18", "1.4.0": "2.7.18", "1.15.0": "2.7.18", "1.15.5": "3.7.16"}
RECORDED = {
    release: json.loads((FOLDER / f"tf-{release}-python-{python.rpartition('.')[0]}.json").read_text("ascii"))
    for release, python in RELEASES.items()
}
EPSILON = np.float64(listing.EPSILON)
U = bounds.UNIT["float32"]
ULP = 2.0**-23

# The training output that the article printed for decay=1; the input is recovered from the test output.
TRAIN_OUTPUT_DECAY_1 = (
    "1.58194923 1.092067 0.90377307 -0.54407573 -1.40420842 -1.2678678 -2.07936239 -0.7029525 "
    "0.66369891 0.8902123 -0.08132553 -0.80555594 0.52472615 0.6974256 0.22497487 0.30652118"
)
PRINTED = {
    0: {"train": listing.TRAIN_OUTPUT_DECAY_0, "test": listing.TRAIN_OUTPUT_DECAY_0},
    1: {"train": TRAIN_OUTPUT_DECAY_1, "test": listing.TEST_OUTPUT_DECAY_1},
}
PRINTED_VARIABLES = [
    f"<tf.Variable 'my/BatchNorm/{name}:0' shape=(1,) dtype=float32_ref>"
    for name in ("beta", "moving_mean", "moving_variance")
]


def numbers(text):
    return np.array(text.split(), float)


def run_of(release, decay, input_name, fused):
    (run,) = [
        run
        for run in RECORDED[release]["runs"]
        if (run["decay"], run["input"], run["fused"]) == (decay, input_name, fused)
    ]
    return run


def phases_of(run):
    assert [phase["name"] for phase in run["phases"]] == ["train", "test"]
    return [
        {key: value if key == "name" else np.array(value, np.float32).astype(float) for key, value in phase.items()}
        for phase in run["phases"]
    ]


def is_fused(release, fused):
    return fused == "True" or (fused == "default" and release != "1.3.0")


def input_of(release, input_name, dx=0.0):
    x = np.array(RECORDED[release]["inputs"][input_name], np.float32).astype(float).reshape(16, 1)
    return bounds.Batch(x, U, dx)


def expected(batch, decay, fused):
    """What the listing gives: (values, error bounds) of both outputs and the statistics after training."""
    bessel = 16 / 15 if fused else 1.0
    mean = batch.mean * (1 - decay)
    variance = 1 + (bessel * batch.variance - 1) * (1 - decay)
    mean_error = (1 - decay) * (batch.mean_error + 4 * U * np.abs(batch.mean))
    variance_error = (1 - decay) * (bessel * batch.variance_error + 4 * U * batch.variance)
    layers = {
        "train": bounds.Normalised(
            batch,
            batch.mean,
            batch.variance,
            batch.mean_error,
            batch.variance_error,
            1.0,
            0.0,
            EPSILON,
            U,
            0.0,
        ),
        "test": bounds.Normalised(batch, mean, variance, mean_error, variance_error, 1.0, 0.0, EPSILON, U, 0.0),
    }
    values = {name: layer.output.ravel() for name, layer in layers.items()}
    errors = {name: layer.output_error.ravel() for name, layer in layers.items()}
    values.update(moving_mean=mean, moving_variance=variance)
    errors.update(moving_mean=mean_error, moving_variance=variance_error)
    return values, errors


def found(run):
    train, test = phases_of(run)
    return {
        "train": train["output"],
        "test": test["output"],
        "moving_mean": train["moving_mean_after"],
        "moving_variance": train["moving_variance_after"],
    }


ALL_RUNS = [
    pytest.param(release, decay, name, fused, id=f"{release}-decay{decay}-on_{name}-fused_{fused}")
    for release in RELEASES
    for decay in (0, 1)
    for name in ("decay0", "decay1")
    for fused in ("default", "False", "True")
]
OWN_INPUT = [(0, "decay0"), (1, "decay1")]


@pytest.mark.parametrize("release", RELEASES)
def test_recordings_say_what_made_them(release):
    recording = RECORDED[release]
    assert recording["tensorflow"] == release
    assert recording["python"] == RELEASES[release]
    assert recording["command"] == "python tests/golden/listing.py --write"
    assert recording["reuse"].startswith("not is_training" if release == "1.3.0" else "tf.AUTO_REUSE")
    assert len(recording["runs"]) == 12
    assert {path.name for path in FOLDER.glob("*.json")} - {"listings.json"} == {
        f"tf-{release}-python-{python.rpartition('.')[0]}.json" for release, python in RELEASES.items()
    }


@pytest.mark.parametrize("release", RELEASES)
def test_inputs_are_those_recovered_from_the_article(release):
    for name, x in listing.recovered_inputs().items():
        recorded = np.array(RECORDED[release]["inputs"][name], np.float32)
        assert recorded.tobytes() == x.tobytes()
    batch = input_of(release, "decay0")
    assert batch.mean[0] == pytest.approx(listing.MEAN_DECAY_0, rel=ULP)
    # The population variance: with Bessel's correction it would be 5863.
    assert batch.variance[0] == pytest.approx(listing.VARIANCE_DECAY_0, rel=2 * ULP)


@pytest.mark.parametrize(("release", "decay", "name", "fused"), ALL_RUNS)
def test_variables_print_as_in_the_article_and_start_as_there(release, decay, name, fused):
    run = run_of(release, decay, name, fused)
    assert run["printed_variables"] == PRINTED_VARIABLES
    train, test = phases_of(run)
    assert (train["beta_before"], train["moving_mean_before"], train["moving_variance_before"]) == (0, 0, 1)
    # Testing changes no statistics, and finds those that training left.
    for variable in ("beta", "moving_mean", "moving_variance"):
        assert test[f"{variable}_before"] == train[f"{variable}_after"]
        assert test[f"{variable}_after"] == test[f"{variable}_before"]


@pytest.mark.parametrize(("release", "decay", "name", "fused"), ALL_RUNS)
def test_recording_follows_the_formula_of_its_release(release, decay, name, fused):
    run = run_of(release, decay, name, fused)
    assert any(kind.startswith("FusedBatchNorm") for kind in run["op_types"]) == is_fused(release, fused)
    values, errors = expected(input_of(release, name), decay, is_fused(release, fused))
    for key, value in found(run).items():
        assert (np.abs(value - values[key]) <= errors[key]).all(), key
    if decay == 1:
        assert found(run)["moving_mean"] == 0
        assert found(run)["moving_variance"] == 1
    else:
        rival, _ = expected(input_of(release, name), decay, not is_fused(release, fused))
        assert np.abs(found(run)["moving_variance"] - rival["moving_variance"]) > 100 * errors["moving_variance"]


@pytest.mark.parametrize(("decay", "name"), OWN_INPUT)
def test_1_3_0_by_default_prints_what_the_article_printed(decay, name):
    """Both the author's run and the recording are rounded, and so is the input recovered from his output."""
    got = found(run_of("1.3.0", decay, name, "default"))
    batch = input_of("1.3.0", name)
    _, errors = expected(batch, decay, False)
    if decay == 0:
        dx = errors["train"].reshape(16, 1) * np.sqrt(listing.VARIANCE_DECAY_0) + U * np.abs(batch.x)
    else:
        dx = errors["test"].reshape(16, 1) + 2 * U * np.abs(batch.x)
    _, errors = expected(input_of("1.3.0", name, dx), decay, False)
    for phase in ("train", "test"):
        assert (np.abs(got[phase] - numbers(PRINTED[decay][phase])) <= 2 * errors[phase]).all(), phase
    # What that comes to, in one number each.
    assert np.abs(got["train"] - numbers(PRINTED[decay]["train"])).max() < 2.6e-7
    assert np.abs(got["test"] - numbers(PRINTED[decay]["test"])).max() < (2.6e-7 if decay == 0 else 1.6e-5)
    printed = (listing.MEAN_DECAY_0, listing.VARIANCE_DECAY_0) if decay == 0 else (0.0, 1.0)
    assert (got["moving_mean"][0], got["moving_variance"][0]) == pytest.approx(printed, rel=2 * ULP, abs=0)


@pytest.mark.parametrize("name", ["decay0", "decay1"])
@pytest.mark.parametrize("release", RELEASES)
def test_conclusion_2_with_decay_0_depends_on_the_release(release, name):
    """The test output is the training output up to 1.3.0, and sqrt(15/16) of it from 1.4.0 on."""
    run = found(run_of(release, 0, name, "default"))
    _, errors = expected(input_of(release, name), 0, is_fused(release, "default"))
    ratio = 1.0 if release == "1.3.0" else np.sqrt(15 / 16)
    allowed = errors["train"] + errors["test"] + EPSILON * np.abs(run["train"]) / run["moving_variance"]
    assert (np.abs(run["test"] - ratio * run["train"]) <= allowed).all()
    other = np.sqrt(15 / 16) if release == "1.3.0" else 1.0
    assert (np.abs(run["test"] - other * run["train"]) > 100 * allowed).any()


@pytest.mark.parametrize(("decay", "name"), OWN_INPUT)
def test_releases_agree_where_they_run_the_same_code(decay, name):
    for fused in ("False", "True"):
        first = found(run_of("1.3.0", decay, name, fused))
        _, errors = expected(input_of("1.3.0", name), decay, fused == "True")
        for release in RELEASES:
            for key, value in found(run_of(release, decay, name, fused)).items():
                assert (np.abs(value - first[key]) <= 2 * errors[key]).all(), (release, fused, key)
    for release in RELEASES:
        default = found(run_of(release, decay, name, "default"))
        same = found(run_of(release, decay, name, "False" if release == "1.3.0" else "True"))
        assert all(default[key].tobytes() == same[key].tobytes() for key in default), release


@pytest.fixture
def reference_variables():
    resource = tf.resource_variables_enabled()
    tf.disable_resource_variables()
    yield
    (tf.enable_resource_variables if resource else tf.disable_resource_variables)()


@pytest.mark.parametrize(
    ("release", "arguments"),
    [
        pytest.param("1.3.0", {"fused": False}, id="1.3.0"),
        pytest.param("1.15.0", {}, id="1.15.0"),
        pytest.param("1.15.5", {}, id="1.15.5"),
    ],
)
@pytest.mark.parametrize("decay", [0, 1])
@pytest.mark.parametrize("name", ["decay0", "decay1"])
@pytest.mark.usefixtures("reference_variables")
def test_tf1bn_gives_what_the_release_gave(release, arguments, decay, name):
    recorded = run_of(release, decay, name, "default")
    x = np.array(RECORDED[release]["inputs"][name], np.float32)
    now = listing.run(tf, tf1bn.batch_norm, x, decay, arguments)
    assert now["printed_variables"] == recorded["printed_variables"]
    if release.startswith("1.15"):
        # 1.3.0 numbered the operations of the composed layer otherwise; tf1bn has the names of 1.15 alone.
        assert now["output_names"] == recorded["output_names"]
    _, errors = expected(input_of(release, name), decay, is_fused(release, "default"))
    wanted = found(recorded)
    for key, value in found(now).items():
        assert (np.abs(value - wanted[key]) <= 2 * errors[key]).all(), key
