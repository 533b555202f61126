"""``tf1bn.batch_norm`` against recordings of the real ``tf.contrib.layers.batch_norm`` (TensorFlow 1.15.5).

The table of cases, the graph code and the recordings live in ``tests/golden``; see ``cases.py`` and
``record.py`` there. Every case is built and run again on the installed TensorFlow, by the very code that the
recorder ran, and everything that was recorded is compared: variables, collections, names, dtypes, shapes and
errors exactly, numbers within twice the rounding-error bounds of ``bounds.py``.
"""

import collections
import json
import pathlib

import numpy as np
import pytest
import replays
import tensorflow
from golden.record import arguments, bounds, cases, errors, releases
from modes import MODES, played_in

import tf1bn

tf = tensorflow.compat.v1
FOLDER = pathlib.Path(__file__).parents[1] / "golden/tf-1.15.5"
RECORDED = {
    id: result
    for path in sorted(FOLDER.glob("*.json"))
    for id, result in json.loads(path.read_text("ascii"))["cases"].items()
}
BOTH = [id for id in cases.CASES if id in RECORDED]
"""Cases with a recording; the first test says so when one has none."""

# Groups that TensorFlow's graph optimizer is in force for, as it is for the first tier's sample.
OPTIMISED = ("is_training", "updates", "control_flow", "second_order")

# Where tf1bn is meant to differ from 1.15.5: {start of the id: (what tf1bn raises or None, why)}.
DEVIATIONS = {
    "mistake/rank0-": ("ValueError", "1.15.5 builds a layer that nothing can be fed to (A, D)"),
    "mistake/rank1_NCHW-": ("ValueError", "1.15.5 raises an IndexError about its own list (A, D)"),
    "regularizers/returns_number-A": (None, "1.15.5 asks the number for its name"),
    "initializers/beta-function_of_two-": (
        None,
        "today's get_variable leaves partition_info out where it is not taken",
    ),
}

# Rows whose losses Keras makes: (their names are compared without the last part).
MADE_BY_KERAS = ("regularizers/string-",)

# Groups that are also played with resource variables and the control flow of TensorFlow 2.
ALSO_RESOURCE = (
    "layout",
    "affine",
    "is_training",
    "updates",
    "reuse",
    "resource",
    "towers",
    "scope",
    "trainable",
    "collections",
    "dtype",
    "arg_scope",
    "control_flow",
    "zero_debias_use",
    "batch_weights_use",
    "renorm",
    "getters",
    "partitioners",
    "loops",
    "combined",
)
REPLAYS = [("reference", id) for id in BOTH] + [
    ("resource", id) for id in BOTH if cases.CASES[id].group in ALSO_RESOURCE
]


def kinds_of(mode, id):
    """One case of each kind in each mode, one of each group, and all that is refused, which takes no session."""
    case, recorded = cases.CASES[id], RECORDED[id]
    if mode == "reference" and recorded.get("error", {}).get("when") == "build":
        return {(mode, id)}
    if mode != "reference":
        return {(mode, replays.kind(case, recorded))}
    return {(mode, replays.kind(case, recorded)), (mode, case.group)}


SAMPLE = replays.covering(REPLAYS, kinds_of)
SAMPLED = set(SAMPLE)
# A covering sample of each of the other modes, of resource variables that of the groups above.
REPLAYS += [
    (mode, id)
    for mode in MODES
    for other, id in SAMPLE
    if mode not in ("reference", "resource") and other == MODES[mode].compared_as
]


def test_every_case_has_a_recording_and_every_recording_a_case():
    missing = [id for id in cases.CASES if id not in RECORDED]
    assert not missing, f"not recorded, run tests/golden/record/record.py --write: {missing}"
    assert arguments.GROUPS, "the rows of golden/arguments.py are missing"
    assert releases.GROUP in cases.GROUPS
    left_over = [id for id in RECORDED if id not in cases.CASES]
    assert not left_over, f"recorded and no longer in tests/golden/record/cases.py: {left_over}"


@pytest.mark.parametrize("group", cases.GROUPS)
def test_recordings_say_what_made_them(group):
    path = FOLDER / f"{group}.json"
    recording = json.loads(path.read_text("ascii"))
    assert path.stat().st_size < 300_000
    assert recording["tensorflow"] == "1.15.5"
    assert recording["python"].startswith("3.7.")
    assert recording["command"] == "python tests/golden/record.py --write"
    assert list(recording["cases"]) == [case.id for case in cases.GROUPS[group]]


# Rows whose name says what was asked for and whose rank or `fused` then leads elsewhere.
OTHER_PATH = ("mistake/rank", "mistake/fused", "resource/rank2", "partitioners/rank")


def test_recorded_code_path_is_the_one_in_the_name(each_case):
    each_case([(id,) for id in BOTH], check_code_path)


def check_code_path(id):
    recorded, last = RECORDED[id], id.rsplit("-", 1)[-1]
    if "path" not in recorded:
        assert recorded["error"]["when"] == "build"
    elif last in ("A", "A2", "B", "C", "D") and not id.startswith(OTHER_PATH):
        assert last[0] in recorded["path"]
        # Two calls of one layer with different arguments may go two ways.
        assert recorded["path"] == last[0] or id.startswith(("zero_debias_use/plain_first", "renorm/later"))
    else:
        assert recorded["path"] in ("A", "B", "C", "D") or id.startswith("batch_weights_use/towers")


# ---------------------------------------------------------------- replay


tallies = replays.tallies()


@pytest.mark.parametrize("rows", replays.at_once(REPLAYS, lambda mode, id: f"{mode}-{cases.CASES[id].group}", SAMPLE))
def test_replay(rows, each_case, tallies):
    each_case(rows, lambda mode, id: check_replay(mode, id, tallies["TF 1.15.5"]))


def check_replay(mode, id, tally):
    tally.graphs += 1
    case, recorded = cases.CASES[id], RECORDED[id]
    optimised = case.group in OPTIMISED or (mode, id) in SAMPLED
    chosen = tf if optimised else replays.WithoutGraphOptimizer()
    api = cases.Api(chosen, tf1bn.batch_norm, tf1bn.contrib.framework.arg_scope)
    with played_in(mode):
        played = json.loads(json.dumps(cases.play(api, case)))
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
            takes_more=case.group == "loops" or "cond_branches" in id,
        )
        assert other is None, other
        assert_same_numbers(case, played, recorded, tally)


def assert_same_numbers(case, played, recorded, tally):
    if case.twin is not None:
        assert "steps" not in recorded
        recorded = dict(RECORDED[case.twin], graph=recorded["graph"])
    assert ("steps" in played) == ("steps" in recorded)
    if "steps" not in recorded:
        assert not case.steps
    twin = cases.CASES[case.twin] if case.twin else case
    assert played["initial"] == recorded["initial"]
    assert played["start"] == recorded["start"]
    if case.any_order:
        assert_some_order(case, recorded)
        assert_some_order(case, played)
    for key, got, wanted, used in errors.compared(case, played, twin, recorded):
        if case.any_order and "/moving_" in key[-1]:
            continue  # assert_some_order has compared these
        tally.count(case.id, got, wanted, used)
        assert used.max() <= 1, errors.description(key, got, wanted, used)


def assert_some_order(case, result):
    """Two updates of one variable in one run have no order in TensorFlow; any outcome of a race is honest."""
    (step,) = result["steps"]
    bessel = RECORDED[case.id]["path"] in "AB"
    u, rate = bounds.UNIT[case.dtype], 0.25
    names = [f"net/bn/moving_{which}:0" for which in ("mean", "variance")]
    start = [cases.array_of(result["start"][name], "float32").astype(float) for name in names]
    after = [cases.array_of(step["variables"][name], "float32").astype(float) for name in names]
    first, second = (bounds.Batch(case.channels_last(case.batch(0, which)), u) for which in (0, 1))

    def then(state, batch):
        return bounds.statistics_after(*state, batch, rate, bessel)

    alone = [then(start, batch) for batch in (first, second)]
    outcomes = [then(alone[0], second), then(alone[1], first), *alone]
    outcomes.append([a + b - s for a, b, s in zip(*alone, start, strict=True)])
    for i, which in enumerate(("mean", "variance")):
        allowed = 2 * sum(
            bounds.moved(start[i], after[i], getattr(b, which), getattr(b, which + "_error"), 0.0, rate, u)
            for b in (first, second)
        )
        assert min(errors.share_of_bound(after[i], outcome[i], allowed).max() for outcome in outcomes) <= 1, which


# ---------------------------------------------------------------- rival hypotheses


def rates_of(case, path, which="decay"):
    """1 - decay of every training step as TF 1.15 rounds it, or None when a tensor decides."""
    decay = case.layer.get(which, {"decay": 0.999, "renorm_decay": 0.99}[which])
    if isinstance(decay, (cases.Make, str)):
        return None
    return 1.0 - np.float64(np.float32(decay)) if path == "B" else np.float64(np.float32(1.0 - decay))


def is_single(id):
    case, recorded = cases.CASES[id], RECORDED[id]
    if case.layer is None or case.dtype == "float16" or case.data == "nan" or "steps" not in recorded:
        return False
    if case.sample_weights is not None and not np.any(case.sample_weights(0)):
        return False
    return rates_of(case, recorded["path"]) is not None and (
        "renorm" not in case.layer or rates_of(case, "C", "renorm_decay") is not None
    )


SINGLE = [id for id in BOTH if is_single(id)]
"""Cases of one float layer 'net/bn' whose every number an independent model can predict."""


class History:
    """The training steps of a recording of one layer: its state before and after each, by short name."""

    def __init__(self, case, recorded):
        self.case, self.recorded = case, recorded
        self.u, _, self.epsilon = errors.settings(case, recorded["path"])
        self.dtypes = {name: dtype.replace("_ref", "") for name, _, dtype in recorded["graph"]["variables"]}

    def batch(self, number, weighted=True):
        weights = self.case.sample_weights(number) if weighted and self.case.sample_weights is not None else None
        return bounds.Batch(self.case.channels_last(self.case.batch(number)), self.u, weights=weights)

    def __iter__(self):
        state = dict(self.recorded["initial"], **self.recorded["start"])
        for number, step in enumerate(self.recorded["steps"]):
            before = self.numbers(state)
            state.update(step["variables"])
            yield number, step, before, self.numbers(state)

    def numbers(self, state):
        return {
            name: cases.array_of(value, self.dtypes[name]).astype(float)
            for name, value in state.items()
            if self.dtypes[name] != "bool"
        }


def by_role(state):
    return {cases.role_of(name)[0]: value for name, value in state.items()}


def predict(before, batch, rate, renorm_rate, bessel, epsilon, *, debias=1, late=0, variance_too=False):
    """The moving statistics after a step, by short name; the keywords make a rival of it."""
    now = by_role(before)
    mean, variance = bounds.statistics_after(now["moving_mean"], now["moving_variance"], batch, rate, bessel)
    after = {"moving_mean": mean, "moving_variance": variance}
    with np.errstate(all="ignore"):
        if "biased" in now:
            after["biased"] = now["biased"] - (now["biased"] - batch.mean) * rate
            after["local_step"] = now["local_step"] + 1
            factor = 1 - (1 - rate) ** (after["local_step"] - late)
            after["moving_mean"] = {1: after["biased"] / factor, 0: after["biased"], None: mean}[debias]
            if variance_too:
                after["moving_variance"] = variance / factor
        if "moving_stddev" in now:
            stddev = batch.stddev(epsilon, 0.0)[0]
            after["moving_stddev"] = now["moving_stddev"] - (now["moving_stddev"] - stddev) * rate
            after["renorm_stddev"] = now["renorm_stddev"] - (now["renorm_stddev"] - stddev) * renorm_rate
            after["renorm_mean"] = now["renorm_mean"] - (now["renorm_mean"] - batch.mean) * renorm_rate
            if not variance_too:
                after["moving_variance"] = np.maximum(after["moving_stddev"] ** 2 - epsilon, 0)
    return after


@pytest.mark.parametrize("rows", replays.at_once([(id,) for id in SINGLE], lambda id: cases.CASES[id].group))
def test_recording_follows_the_formula_and_no_rival(rows, each_case):
    """Each rival hypothesis misses the recorded statistics by > 100 times the bound, the right one hits."""
    each_case(rows, check_statistics)


def check_statistics(id):
    case, recorded = cases.CASES[id], RECORDED[id]
    path, rate = recorded["path"], rates_of(case, recorded["path"])
    renorm_rate = rates_of(case, path, "renorm_decay")
    frozen = not case.layer.get("trainable", True) and path in "BC"
    history = History(case, recorded)
    model = {"bessel": path in "AB", "epsilon": history.epsilon}
    missed = collections.defaultdict(float)
    previous = None
    for number, step, before, after in history:
        if step["mode"] == "test" or not step["updates"]:
            assert repr(before) == repr(after), "only a training step with updates moves anything"
            continue
        batch = history.batch(number)
        allowed = errors.statistics_errors(
            case, before, after, dict.fromkeys(before, 0.0), [batch], history.u, history.epsilon
        )
        allowed, now, seen = by_role(allowed), by_role(before), by_role(after)

        def miss(predicted, allowed=allowed, seen=seen):
            return max(errors.share_of_bound(predicted[k], seen[k], allowed.get(k, 0.0)).max() for k in predicted)

        right = predict(before, batch, rate, renorm_rate, **model)
        rivals = {}
        if frozen:
            assert repr(before) == repr(after), "TF 1.15 freezes the statistics of the core layer with trainable=False"
            missed["updated all the same"] = max(missed["updated all the same"], miss(right))
            continue
        assert miss(right) <= 1
        other = dict(model, bessel=not model["bessel"])
        debiased, renormed = "biased" in now, "moving_stddev" in now
        if rate > 0:
            rivals["no update"] = now
            if batch.count > 1 and not renormed:
                rivals["the other variance"] = predict(before, batch, rate, renorm_rate, **other)
            if previous is not None and case.data != "constant":
                rivals["one step late"] = predict(before, previous, rate, renorm_rate, **model)
            if batch.weighted and np.ptp(batch.share):
                alone = history.batch(number, weighted=False)
                rivals["weights ignored"] = predict(before, alone, rate, renorm_rate, **model)
            if renormed and rate < 1:
                rivals["variance averaged"] = predict(before, batch, rate, renorm_rate, variance_too=True, **model)
        if 0 < rate < 1 and debiased:
            for name, rival in (
                ("not debiased", {"debias": 0}),
                ("a plain average", {"debias": None}),
                ("debiased for a step less", {"late": 1}),
                ("variance debiased", {"variance_too": True}),
            ):
                rivals[name] = predict(before, batch, rate, renorm_rate, **rival, **model)
        if rate != 0.5:
            rivals["decay and 1 - decay swapped"] = predict(before, batch, 1 - rate, renorm_rate, **model)
        if renormed and rate != renorm_rate:
            rivals["decay and renorm_decay swapped"] = predict(before, batch, renorm_rate, rate, **model)
        for rival, predicted in rivals.items():
            missed[rival] = max(missed[rival], miss(predicted))
        previous = batch
    assert missed, "no rival applies to this case"
    assert min(missed.values()) > 100, dict(missed)


CORRECTED = [
    id
    for id in SINGLE
    if not cases.CASES[id].layer.get("activation_fn")
    and cases.CASES[id].data == "wide"
    and (cases.CASES[id].sample_weights or cases.CASES[id].adjusted or cases.CASES[id].layer.get("renorm"))
]


@pytest.mark.parametrize("rows", replays.at_once([(id,) for id in CORRECTED], lambda id: cases.CASES[id].group))
def test_recorded_output_follows_the_formula_and_no_rival(rows, each_case):
    """Weights, corrections and adjustments in the output: the formula hits, each rival misses by > 100 bounds."""
    each_case(rows, check_output)


def check_output(id):
    case, recorded = cases.CASES[id], RECORDED[id]
    history = History(case, recorded)
    missed = collections.defaultdict(float)
    shape = case.placed(np.empty(case.shape)).shape
    for number, step, before, after in history:
        training = step["mode"] == "train"
        now, later = by_role(before), by_role(after)
        batch = history.batch(number)
        ((_, listed),) = step["outputs"].items()
        got = case.channels_last(cases.array_of(listed, case.dtype).reshape(shape)).reshape(batch.x.shape)
        adjustment = errors.channels_last_pair(case, case.adjusted)

        def corrected(now, batch=batch, number=number):
            if "renorm_mean" not in now:
                return None
            state = now["renorm_mean"], now["renorm_stddev"], 0.0, 0.0
            return bounds.Correction(batch, *state, history.epsilon, case.clipping(number), history.u)

        def layer(correction, adjustment, batch=batch, training=training, now=now):
            moments = batch.mean, batch.variance, batch.mean_error, batch.variance_error
            if not training:
                moments = now["moving_mean"], now["moving_variance"], 0.0, 0.0
            parameters = now.get("gamma", np.float64(1)), now.get("beta", np.float64(0)), history.epsilon
            return bounds.Normalised(batch, *moments, *parameters, history.u, 0.0, correction, adjustment)

        corrects = corrected(now) and (np.any(corrected(now).r != 1) or np.any(corrected(now).d))
        right = layer(*((corrected(now), adjustment) if training else (None, None)))
        assert errors.share_of_bound(right.output, got, right.output_error).max() <= 1
        rivals = {}
        if not training:
            if adjustment:
                rivals["adjusted when testing"] = layer(None, adjustment)
            if corrects:
                rivals["corrected when testing"] = layer(corrected(now), None)
        else:
            if adjustment:
                rivals["not adjusted"] = layer(corrected(now), None)
                rivals["scale and bias swapped"] = layer(corrected(now), adjustment[::-1])
            if batch.weighted and np.ptp(batch.share):
                rivals["weights ignored"] = layer(None, None, history.batch(number, weighted=False))
            if corrected(now):
                r, d = corrected(now).r, corrected(now).d
                swapped, other_sign, free = corrected(now), corrected(now), corrected(now)
                swapped.r, swapped.d = d, r
                other_sign.d = -d
                free.r, free.d = free.free
                if corrects:
                    rivals["not corrected"] = layer(None, adjustment)
                rivals["r and d swapped"] = layer(swapped, adjustment)
                if np.any(d):
                    rivals["the other sign of d"] = layer(other_sign, adjustment)
                if np.any(free.r != r) or np.any(free.d != d):
                    rivals["not clipped"] = layer(free, adjustment)
                moved_on = corrected(later)
                if np.any(moved_on.r != r) or np.any(moved_on.d != d):
                    rivals["averages of after the step"] = layer(moved_on, adjustment)
        for rival, predicted in rivals.items():
            used = errors.share_of_bound(predicted.output, got, right.output_error).max()
            missed[rival] = max(missed[rival], used)
    assert missed, "no rival applies to this case"
    assert min(missed.values()) > 100, dict(missed)


SECOND = [
    id
    for id in SINGLE
    if cases.CASES[id].gradients == "second"
    and "renorm" not in cases.CASES[id].layer
    and cases.CASES[id].data == "wide"
]


@pytest.mark.recordings
def test_recorded_second_gradients_stop_where_the_moments_do(each_case):
    """The composed paths' second gradients lack the term that stops at the mean; the fused and the weighted have it."""
    each_case([(id,) for id in SECOND], check_second_gradients)


def check_second_gradients(id):
    case, recorded = cases.CASES[id], RECORDED[id]
    history = History(case, recorded)
    (number, step, before, _), *_ = history
    assert step["mode"] == "train"
    batch, now = history.batch(number), by_role(before)
    moments = batch.mean, batch.variance, batch.mean_error, batch.variance_error
    parameters = now.get("gamma", np.float64(1)), now.get("beta", np.float64(0)), history.epsilon
    adjustment = errors.channels_last_pair(case, case.adjusted)
    layer = bounds.Normalised(batch, *moments, *parameters, history.u, 0.0, None, adjustment)
    w, t = (case.channels_last(case.weights(i)).astype(float).reshape(batch.x.shape) for i in (0, 1))
    allowed = layer.second_gradients(w, t, True)["x"]
    got = np.reshape(step["gradients"]["0"]["second x"], batch.x.shape)
    stopped = recorded["path"] in "CD" and not batch.weighted
    right, rival = (layer.second_gradient_by_input(w, t, s) for s in (stopped, not stopped))
    assert errors.share_of_bound(right, got, allowed).max() <= 1
    assert errors.share_of_bound(rival, got, allowed).max() > 100


@pytest.mark.parametrize("id", ["decay/default-B", "decay/0.999-B", "decay/default-dynamic-B"])
def test_core_fused_path_rounds_decay_to_float32(id):
    """From a moving mean of 0 the relative error of the rate, 1.3e-5, shows at once."""
    case, recorded = cases.CASES[id], RECORDED[id]
    batch = bounds.Batch(case.batch(0), bounds.UNIT["float32"])
    first = recorded["steps"][0]["variables"]["net/bn/moving_mean:0"]
    allowed = bounds.moved(0.0, np.array(first), batch.mean, batch.mean_error, 0.0, 0.001, bounds.UNIT["float32"])
    rounded, exact = ((1 - np.float64(decay)) * batch.mean for decay in (np.float32(0.999), 0.999))
    assert errors.share_of_bound(rounded, first, allowed).max() <= 1
    assert errors.share_of_bound(exact, first, allowed).min() > 5
