"""``tf1bn.release`` against recordings of the real ``tf.contrib.layers.batch_norm`` of other releases than 1.15.5.

``golden/releases.py`` selects the cases that are recorded under each. Here every one is built and run again inside
``tf1bn.release(...)`` and compared like those of ``test_recordings_contrib.py``: names, variables, collections
and errors exactly, numbers within twice the bounds of ``golden/bounds.py``.
"""

import json
import pathlib

import pytest
import replays
from golden.record import cases, releases
from modes import played_in

import tf1bn

FOLDER = pathlib.Path(__file__).parents[1] / "golden"
VERSIONS = (
    "1.0.0",
    "1.1.0",
    "1.2.0",
    "1.3.0",
    "1.4.1",
    "1.5.0",
    "1.6.0",
    "1.7.0",
    "1.8.0",
    "1.9.0",
    "1.10.0",
    "1.12.0",
    "1.14.0",
)


def recordings(version):
    return [json.loads(path.read_text("ascii")) for path in sorted((FOLDER / f"tf-{version}").glob("*.json"))]


RECORDED = {
    (version, id): result
    for version in VERSIONS
    for recording in recordings(version)
    for id, result in recording["cases"].items()
}


def play(id, release):
    with played_in("reference"), tf1bn.release(release):
        api = cases.Api(replays.WithoutGraphOptimizer(), tf1bn.batch_norm, tf1bn.contrib.framework.arg_scope)
        return json.loads(json.dumps(cases.play(api, cases.CASES[id])))


# Where tf1bn is meant to differ: (releases, start of the id, what, why). ``what``: the type of an error or None for
# none; or a function of the key of a number, which says that this one is not compared.
REFUSED = ("ValueError", "tf1bn refuses the dtype when it is asked; the release failed in an operation inside")
TAKEN = (None, "the release failed on its own variable's dtype")
TESTED = (
    lambda key: key[1:3] == ("test", "output"),
    "updates happen while testing, and have no order with the output",
)
GRADIENT = (
    lambda key: key[1:3] == ("test", "gradient"),
    "the gradient of the fused kernel reads outputs that it leaves unwritten while testing: what memory held",
)
CONSTANT = (
    "collections",
    "the release put the variables themselves into UPDATE_OPS beside their updates, to no effect",
)
LATER = (None, "the release has no tf.AUTO_REUSE")
OLD, MIDDLE = ("1.0", "1.1", "1.2", "1.3"), ("1.5", "1.6", "1.7", "1.8", "1.9", "1.10", "1.12", "1.14")
DEVIATIONS = (
    (("1.3",), "renorm/later-", *LATER),
    (("1.3",), "renorm/float64-placeholder", *REFUSED),
    (("1.10", "1.12"), "renorm/float16-", *TAKEN),
    *(
        (("1.3",), f"dtype/{dtype}-dynamic-{path}", *REFUSED)
        for dtype in ("float16", "float64")
        for path in ("A2", "B", "C")
    ),
    (("1.9",), "dtype/float16-rank4-fusedFalse-updates_default", *REFUSED),
    (("1.10", "1.12"), "dtype/float16-rank4-fusedFalse-updates_default", *TAKEN),
    (("1.0", "1.1"), "decay/default-dynamic-", *TESTED),
    (("1.0", "1.1"), "trainable/False-dynamic-", *TESTED),
    (("1.0", "1.1"), "is_training/placeholder-", *TESTED),
    (("1.0", "1.1"), "release/fused_True-dynamic", *TESTED),
    (OLD, "layout/rank", *GRADIENT),
    (OLD, "release/fused_True-no_parameters", *GRADIENT),
    (MIDDLE, "is_training/constant-C", *CONSTANT),
    (MIDDLE, "renorm/is_training_constant-C", *CONSTANT),
)


def deviation(release, id):
    found = [what for names, start, what, _ in DEVIATIONS if release in names and id.startswith(start)]
    return found[0] if found else "none"


tallies = replays.tallies()


@pytest.mark.parametrize("version", VERSIONS)
def test_recordings_say_what_made_them(version):
    chosen = releases.selected(version)
    assert sorted(path.stem for path in (FOLDER / f"tf-{version}").glob("*.json")) == sorted(chosen)
    for group, selected in chosen.items():
        path = FOLDER / f"tf-{version}" / f"{group}.json"
        recording = json.loads(path.read_text("ascii"))
        assert path.stat().st_size < 1_000_000
        assert recording["tensorflow"] == version
        assert recording["command"] == "python tests/golden/record.py --write"
        assert list(recording["cases"]) == [case.id for case in selected]


def kinds_of(version, id):
    """One case of each code path in each release, of each dtype, of ``is_training`` a tensor, and of each deviation."""
    path, dtype, dynamic = replays.kind(cases.CASES[id], RECORDED[version, id])
    return {(version, path), (path, dtype), dynamic, deviation(version.rpartition(".")[0], id)}


SAMPLE = replays.covering(RECORDED, kinds_of)


@pytest.mark.parametrize("rows", replays.at_once(list(RECORDED), lambda version, id: version, SAMPLE))
def test_replay(rows, each_case, tallies):
    each_case(rows, lambda version, id: check_replay(version, id, tallies[f"TF {version}"]))


def check_replay(version, id, tally):
    release, recorded = version.rpartition(".")[0], RECORDED[version, id]
    played, what = play(id, release), deviation(release, id)
    recorded = json.loads(json.dumps(recorded))
    tally.graphs += 1
    floor = tf1bn.releases.get(release).epsilon_floor
    if what == "none":
        found = replays.difference(cases.CASES[id], played, recorded, floor, tally)
        assert found is None, found
    elif what == "collections":
        outputs = recorded["graph"]["outputs"]
        for updates in (recorded["graph"]["collections"]["update_ops"], *(output["updates"] for output in outputs)):
            updates[:] = [item for item in updates if "/moving_" not in item[1]]
        found = replays.difference(cases.CASES[id], played, recorded, floor, tally)
        assert found is None, found
    elif what is None or isinstance(what, str):
        assert played.get("error", {}).get("kinds", [None])[0] == what
        assert "error" in recorded
    else:
        found = replays.difference(cases.CASES[id], played, recorded, floor, tally, what)
        assert found is None, found


# (recorded under, played as, case): where the two releases differ, the replay must see it.
RIVALS = (
    ("1.3.0", "1.4", "release/fused_None-rank4-updates_default"),
    ("1.3.0", "1.15", "decay/default-B"),
    ("1.4.1", "1.3", "trainable/False-B"),
    ("1.4.1", "1.5", "release/regularized-fused_None-updates_none"),
    ("1.4.1", "1.8", "decay/default-B"),
    ("1.8.0", "1.7", "decay/default-B"),
    ("1.7.0", "1.8", "decay/default-B"),
    ("1.5.0", "1.6", "trainable/False-B"),
    ("1.6.0", "1.5", "trainable/False-B"),
    ("1.0.0", "1.4", "release/fused_None-rank4-updates_default"),
    ("1.14.0", "1.3", "release/fused_None-rank4-updates_default"),
)


@pytest.mark.parametrize(("version", "release", "id"), RIVALS)
def test_another_release_is_told_apart(version, release, id):
    floor = tf1bn.releases.get(release).epsilon_floor
    found = replays.difference(cases.CASES[id], play(id, release), RECORDED[version, id], floor)
    assert found is not None
