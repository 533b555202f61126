"""``tf1bn.batch_normalization`` against recordings of the real ``tf.layers.batch_normalization`` (TensorFlow 1.15.5).

``tests/golden/record/layers_cases.py`` is the table, ``record_layers.py`` made the recordings. As in
test_recordings_contrib.py every case is built and run again on the installed TensorFlow by the very code that the
recorder ran: variables, collections, names, dtypes, shapes and errors must be the same, numbers within twice the
rounding-error bounds of ``bounds.py``.
"""

import collections
import json
import pathlib

import numpy as np
import pytest
import replays
import tensorflow
from golden.record import bounds, cases, errors, layers_cases, layers_errors
from modes import MODES, played_in

import tf1bn

tf = tensorflow.compat.v1
FOLDER = pathlib.Path(__file__).parents[1] / "golden/tf-1.15.5-layers"
RECORDED = {
    id: result
    for path in sorted(FOLDER.glob("*.json"))
    for id, result in json.loads(path.read_text("ascii"))["cases"].items()
}
BOTH = [id for id in layers_cases.CASES if id in RECORDED]


OPTIMISED = ("training", "use", "second_order")


def api_for(case):
    chosen = tf if case.group in OPTIMISED else replays.WithoutGraphOptimizer()
    return layers_cases.Api(chosen, tf1bn.batch_normalization, tf1bn.arg_scope)


# Where tf1bn is meant to differ from 1.15.5: {start of the id: (what tf1bn raises or None, why)}.
DEVIATIONS = {
    "mistakes/axis_empty-C": ("IndexError", "1.15.5 wraps it in an exception of AutoGraph, unlike elsewhere"),
}

# Rows whose losses Keras makes: their names are compared without the last part.
MADE_BY_KERAS = ("regularizers/string-",)

# Groups that are also played with resource variables and the control flow of TensorFlow 2.
ALSO_RESOURCE = ("training", "use", "trainable")
REPLAYS = [("reference", id) for id in BOTH]
REPLAYS += [("resource", id) for id in BOTH if layers_cases.CASES[id].group in ALSO_RESOURCE]


def kinds_of(mode, id):
    """One case of each kind, one of each group, and all that is refused, which takes no session."""
    case, recorded = layers_cases.CASES[id], RECORDED[id]
    if recorded.get("error", {}).get("when") == "build":
        return {(mode, id)}
    return {(mode, replays.kind(case, recorded)), (mode, case.group)}


SAMPLE = replays.covering(REPLAYS, kinds_of)
# A covering sample of each of the other modes, of resource variables that of the groups above.
REPLAYS += [
    (mode, id)
    for mode in MODES
    for other, id in SAMPLE
    if mode not in ("reference", "resource") and other == MODES[mode].compared_as
]


def test_every_case_has_a_recording_and_every_recording_a_case():
    missing = [id for id in layers_cases.CASES if id not in RECORDED]
    assert not missing, f"not recorded, run tests/golden/record/record_layers.py --write: {missing}"
    left_over = [id for id in RECORDED if id not in layers_cases.CASES]
    assert not left_over, f"recorded and no longer in tests/golden/record/layers_cases.py: {left_over}"


@pytest.mark.parametrize("group", layers_cases.GROUPS)
def test_recordings_say_what_made_them(group):
    path = FOLDER / f"{group}.json"
    recording = json.loads(path.read_text("ascii"))
    assert path.stat().st_size < 400_000
    assert recording["tensorflow"] == "1.15.5"
    assert recording["python"].startswith("3.7.")
    assert recording["command"] == "python tests/golden/record_layers.py --write"
    assert list(recording["cases"]) == [case.id for case in layers_cases.GROUPS[group]]


def test_recorded_form_is_the_one_in_the_name():
    """Fused where it should be: everything that follows about Bessel's correction hangs on it."""
    for id, recorded in RECORDED.items():
        last = id.rsplit("-", 1)[-1]
        if last in layers_cases.FORMS and "path" in recorded and not id.startswith("mistakes/"):
            assert recorded["path"] == ("B" if last == "B" else "C"), id


# ---------------------------------------------------------------- replay


tallies = replays.tallies()


@pytest.mark.parametrize(
    "rows", replays.at_once(REPLAYS, lambda mode, id: f"{mode}-{layers_cases.CASES[id].group}", SAMPLE)
)
def test_replay(rows, each_case, tallies):
    each_case(rows, lambda mode, id: check_replay(mode, id, tallies["tf.layers of TF 1.15.5"]))


def check_replay(mode, id, tally):
    case, recorded = layers_cases.CASES[id], RECORDED[id]
    with played_in(mode):
        played = json.loads(json.dumps(cases.play(api_for(case), case)))
    tally.graphs += 1
    deviation = [kind for start, (kind, _) in DEVIATIONS.items() if id.startswith(start)]
    if deviation:
        assert played.get("error", {}).get("kinds", [None])[0] == deviation[0]
    elif "error" in recorded or "error" in played:
        other = replays.other_error(played.get("error"), recorded.get("error"), MODES[mode].compared_as)
        assert other is None, other
    else:
        other = replays.other_graph(
            played["graph"],
            recorded["graph"],
            MODES[mode].compared_as,
            made_by_keras=id.startswith(MADE_BY_KERAS),
            takes_more=id.startswith("use/"),
        )
        assert other is None, other
        assert_same_numbers(case, played, recorded, tally)


def assert_same_numbers(case, played, recorded, tally):
    twin = layers_cases.CASES[case.twin] if case.twin else case
    if case.twin is not None:
        assert "steps" not in recorded
        recorded = dict(RECORDED[case.twin], graph=recorded["graph"])
    assert ("steps" in played) == ("steps" in recorded)
    if "steps" not in recorded:
        assert not case.steps
        return
    for name, initial in recorded["initial"].items():
        if name.endswith("stddev:0"):
            # The initialiser takes a root, and 1.15.5 may have sqrt(1) = 1 - 2**-24.
            assert np.allclose(played["initial"][name], initial, rtol=2 * bounds.UNIT["float32"], atol=0), name
        else:
            assert played["initial"][name] == initial, name
    assert played["start"] == recorded["start"]
    for key, got, wanted, used in errors.compared(
        case, played, twin, recorded, bounds_of=layers_errors.errors_for(case)
    ):
        tally.count(case.id, got, wanted, used)
        assert used.max(initial=0) <= 1, errors.description(key, got, wanted, used)


# ---------------------------------------------------------------- rival hypotheses


def is_single(id):
    """One float layer 'net/bn' whose statistics an independent model can predict."""
    case, recorded = layers_cases.CASES[id], RECORDED[id]
    return (
        case.layer is not None
        and case.dtype != "float16"
        and case.data in ("wide", "small")
        and not isinstance(case.layer["decay"], cases.Make)
        and "renorm" not in case.layer
        and any(step["mode"] == "train" and step["updates"] for step in recorded.get("steps", ()))
        and "error" not in recorded
    )


SINGLE = [id for id in BOTH if is_single(id)]
SPLIT = [id for id in SINGLE if layers_cases.CASES[id].virtual not in (None, 1)]


class Contiguous(layers_errors.Ghosts):
    """Virtual batches as one might think of them: samples that follow each other."""

    def owner_of(self, sample, number, size):
        return sample // size


def steps_of(case, recorded):
    """(number, step, statistics before, after), each by variable name."""
    dtypes = {name: dtype.replace("_ref", "") for name, _, dtype in recorded["graph"]["variables"]}
    state = dict(recorded["initial"], **recorded["start"])

    def numbers():
        return {
            name: cases.array_of(v, dtypes[name]).astype(float)
            for name, v in state.items()
            if name.startswith("net/bn/")
        }

    for number, step in enumerate(recorded["steps"]):
        before = numbers()
        state.update(step["variables"])
        yield number, step, before, numbers()


def batch_of(case, number, u, kind=layers_errors.Ghosts):
    array = case.channels_last(case.batch(number))
    return bounds.Batch(array, u) if case.virtual is None else kind(case, array, u)


@pytest.mark.parametrize("rows", replays.at_once([(id,) for id in SINGLE], lambda id: layers_cases.CASES[id].group))
def test_recorded_statistics_follow_the_formula_and_no_rival(rows, each_case):
    """The right hypothesis hits the recorded statistics, each rival misses them by > 100 times the bound."""
    each_case(rows, check_statistics)


def check_statistics(id):
    case, recorded = layers_cases.CASES[id], RECORDED[id]
    fused, momentum = recorded["path"] == "B", case.layer["decay"]
    rate = 1.0 - np.float64(np.float32(momentum)) if fused else np.float64(np.float32(1.0 - momentum))
    u, _, epsilon = errors.settings(case, recorded["path"])
    missed, previous = collections.defaultdict(float), None
    for number, step, before, after in steps_of(case, recorded):
        if step["mode"] == "test" or not step["updates"] or not case.layer.get("trainable", True):
            assert repr(before) == repr(after), "only a training step with updates moves anything"
            missed["frozen layers move"] = np.inf
            continue
        batch = batch_of(case, number, u)
        names = [f"net/bn/moving_{which}:0" for which in ("mean", "variance")]
        allowed = errors.statistics_errors(case, before, after, dict.fromkeys(before, 0.0), [batch], u, epsilon)

        def miss(batch, rate=rate, bessel=fused, before=before, after=after, allowed=allowed, names=names):
            predicted = bounds.statistics_after(*(before[name].ravel() for name in names), batch, rate, bessel)
            pairs = zip(predicted, names, strict=True)
            return max(errors.share_of_bound(p, after[n].ravel(), allowed[n]).max() for p, n in pairs)

        assert miss(batch) <= 1
        rivals = {}
        if rate > 0:
            rivals["no update"] = miss(batch, 0.0)
            if batch.count > 1 and case.virtual is None:
                rivals["the other variance"] = miss(batch, bessel=not fused)
            if previous is not None:
                rivals["one step late"] = miss(previous)
            if case.virtual is not None and case.virtual < case.real[0]:
                rivals["the moments of the whole batch"] = miss(bounds.Batch(batch.x, u))
                if case.virtual > 1:
                    rivals["virtual batches of neighbours"] = miss(batch_of(case, number, u, Contiguous))
        if rate != 0.5:
            rivals["momentum and 1 - momentum swapped"] = miss(batch, 1 - rate)
        for rival, share in rivals.items():
            missed[rival] = max(missed[rival], share)
        previous = batch
    assert missed, "no rival applies to this case"
    assert min(missed.values()) > 100, dict(missed)


@pytest.mark.recordings
def test_recorded_virtual_batches_are_every_nth_sample(each_case):
    """Sample i is normalised with the moments of the samples that are i modulo the number of virtual batches."""
    each_case([(id,) for id in SPLIT], check_virtual_batches)


def check_virtual_batches(id):
    case, recorded = layers_cases.CASES[id], RECORDED[id]
    u, _, epsilon = errors.settings(case, recorded["path"])
    for number, step, before, _ in steps_of(case, recorded):
        if step["mode"] == "test":
            continue
        (listed,) = step["outputs"].values()
        got = case.channels_last(np.reshape(listed, case.real)).reshape(-1, case.shape[-1])
        gamma, beta = (before.get(f"net/bn/{k}:0", np.float64(v)).ravel() for k, v in (("gamma", 1), ("beta", 0)))

        def normalised(batch, parts, gamma=gamma, beta=beta):
            made = [
                bounds.Normalised(p, p.mean, p.variance, p.mean_error, p.variance_error, gamma, beta, epsilon, u, 0.0)
                for p in parts
            ]
            return batch.spread([m.output for m in made]), batch.spread([m.output_error for m in made])

        batch = batch_of(case, number, u)
        right, allowed = normalised(batch, batch.parts)
        assert errors.share_of_bound(right, got, allowed).max() <= 1
        if 1 < batch.number < case.real[0]:
            other = batch_of(case, number, u, Contiguous)
            rival, _ = normalised(other, other.parts)
            assert errors.share_of_bound(rival, got, allowed).max() > 100
