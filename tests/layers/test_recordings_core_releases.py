"""``tf1bn.batch_normalization`` in ``tf1bn.release(...)`` against recordings of the real one of TF 1.0 to 1.14.

``golden/record/releases.py`` selects the cases of ``layers_cases.py`` that are recorded under each release. They are
built and run again and compared as in test_recordings_releases.py.
"""

import json
import pathlib

import pytest
import replays
from golden.record import cases, layers_cases, layers_errors, releases
from modes import played_in

import tf1bn

FOLDER = pathlib.Path(__file__).parents[1] / "golden"
VERSIONS = sorted(path.name.split("-")[1] for path in FOLDER.glob("tf-*-layers") if "1.15" not in path.name)
RECORDED = {
    (version, id): result
    for version in VERSIONS
    for id, result in json.loads((FOLDER / f"tf-{version}-layers/selection.json").read_text("ascii"))["cases"].items()
}

# Where tf1bn is meant to differ: (releases, start of the id, what, why), as in test_recordings_releases.py.
REFUSED = ("ValueError", "tf1bn refuses the dtype when it is asked; the release failed in an operation inside")
VECTOR = ("ValueError", "the release took a vector of one flag")
TAKEN = (None, "the release failed on its own variable's dtype")
LATER = (None, "the release has no tf.AUTO_REUSE")
NCHW = (None, "1.x has no fused kernel for NCHW on the CPU")
RESOURCE = ("skip", "update items of resource variables are named otherwise")
CONSTANT = ("constant", "the release put the variables themselves into UPDATE_OPS beside their updates, to no effect")
TESTED = ("tested", "updates happen while testing, and have no order with the output")
MIDDLE = ("1.5", "1.6", "1.7", "1.8", "1.9", "1.10", "1.12", "1.14")
DEVIATIONS = (
    (("1.0", "1.1"), "momentum/default-dynamic-", *TESTED),
    (("1.0", "1.1"), "training/placeholder-", *TESTED),
    *((("1.3",), f"dtype/{dtype}-dynamic-{form}", *REFUSED) for dtype in ("float16", "float64") for form in "BC"),
    (("1.9",), "dtype/float16-rank4-fusedFalse", *REFUSED),
    *((("1.10", "1.12"), f"dtype/float16-{name}", *TAKEN) for name in ("rank4-fusedFalse", "dynamic-C", "dynamic-M")),
    *((("1.10", "1.12"), f"dtype/float16-{name}", *TAKEN) for name in ("dynamic-V", "renorm-")),
    (("1.3",), "renorm/plain_first", *LATER),
    (("1.3",), "reuse/more_variables-", *LATER),
    (("1.3", "1.4"), "scopes/resource-", *RESOURCE),
    (("1.3",), "mistakes/training_vector-", *VECTOR),
    (("1.4",), "mistakes/training_vector-C", *VECTOR),
    (("1.4",), "mistakes/axis_numpy-", *NCHW),
    (MIDDLE, "training/constant-C", *CONSTANT),
)


def deviation(release, id):
    found = [what for names, start, what, _ in DEVIATIONS if release in names and id.startswith(start)]
    return found[0] if found else "none"


def play(id, release):
    with played_in("reference"), tf1bn.release(release):
        api = layers_cases.Api(replays.WithoutGraphOptimizer(), tf1bn.batch_normalization, tf1bn.arg_scope)
        return json.loads(json.dumps(cases.play(api, layers_cases.CASES[id])))


tallies = replays.tallies()


def kinds_of(version, id):
    """One case of each release, of each code path, and of batch renormalisation as 1.3 and 1.12 had it."""
    path = replays.kind(layers_cases.CASES[id], RECORDED[version, id])[0]
    return {version, path, ("renorm" in id and version in ("1.3.0", "1.12.0") and version, path == "C")}


SAMPLE = replays.covering(RECORDED, kinds_of)


@pytest.mark.parametrize("version", VERSIONS)
def test_recordings_say_what_made_them(version):
    path = FOLDER / f"tf-{version}-layers/selection.json"
    recording = json.loads(path.read_text("ascii"))
    assert path.stat().st_size < 500_000
    assert recording["tensorflow"] == version
    assert recording["command"] == "python tests/golden/record_layers.py --write"
    assert list(recording["cases"]) == [case.id for case in releases.selected_of_layers(version)["selection"]]


@pytest.mark.parametrize("rows", replays.at_once(list(RECORDED), lambda version, id: version, SAMPLE))
def test_replay(rows, each_case, tallies):
    each_case(rows, lambda version, id: check_replay(version, id, tallies[f"tf.layers of TF {version}"]))


def check_replay(version, id, tally):
    release, case = version.rpartition(".")[0], layers_cases.CASES[id]
    recorded, played, what = json.loads(json.dumps(RECORDED[version, id])), play(id, release), deviation(release, id)
    tally.graphs += 1
    if what == "constant":
        outputs = recorded["graph"]["outputs"]
        for updates in (recorded["graph"]["collections"]["update_ops"], *(output["updates"] for output in outputs)):
            updates[:] = [item for item in updates if "/moving_" not in item[1]]
    elif what == "skip":
        for graph in (played["graph"], recorded["graph"]):
            graph["collections"].pop("update_ops")
            for output in graph["outputs"]:
                output["updates"] = len(output["updates"])
    elif what not in ("none", "tested"):
        assert played.get("error", {}).get("kinds", [None])[0] == what
        assert ("error" in recorded) is (what is None or what == REFUSED[0]) or "vector" in id
        return
    floor = tf1bn.releases.get(release).epsilon_floor
    bounds_of = layers_errors.errors_for(case)

    def left_out(key):
        return what == "tested" and key[1:3] == ("test", "output")

    found = replays.difference(case, played, recorded, floor, tally, left_out, bounds_of)
    assert found is None, found


# (recorded under, played as, case): where the two releases differ, the replay must see it.
RIVALS = (
    ("1.3.0", "1.4", "momentum/default-B"),
    ("1.12.0", "1.15", "renorm/defaults"),
    ("1.3.0", "1.5", "renorm/defaults"),
    ("1.5.0", "1.6", "trainable/False-bool-B"),
)


@pytest.mark.parametrize(("version", "release", "id"), RIVALS)
def test_another_release_is_told_apart(version, release, id):
    floor = tf1bn.releases.get(release).epsilon_floor
    assert replays.difference(layers_cases.CASES[id], play(id, release), RECORDED[version, id], floor) is not None


def test_arguments_came_with_their_release():
    import tensorflow as tf

    with tf.Graph().as_default(), tf1bn.release("1.1"):
        x = tf.compat.v1.placeholder(tf.float32, [2, 3])
        for name, since in (("renorm", "1.2"), ("fused", "1.3"), ("beta_constraint", "1.4"), ("adjustment", "1.5")):
            with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'.*came with {since}"):
                tf1bn.batch_normalization(x, **{name: None})


@pytest.mark.parametrize(("version", "id"), [("1.0.0", "momentum/default-dynamic-B"), ("1.2.0", "momentum/default-B")])
def test_the_table_of_fidelity_leaves_out_what_has_no_order(version, id, monkeypatch):
    """Its shares would change from run to run."""
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")  # which the script sets
    import fidelity

    left_out = fidelity.without_order(version, "batch_normalization", id)
    assert left_out((4, "test", "output", "0")) is (version == "1.0.0")
    assert not left_out((4, "train", "output", "0"))
    assert not fidelity.without_order("1.15.5", "batch_normalization", id)((4, "test", "output", "0"))
