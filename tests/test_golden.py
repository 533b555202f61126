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
import tensorflow
from golden import bounds, cases

import tf1bn

tf = tensorflow.compat.v1
FOLDER = pathlib.Path(cases.__file__).with_name("tf-1.15.5")
RECORDED = {
    id: result
    for path in sorted(FOLDER.glob("*.json"))
    for id, result in json.loads(path.read_text("ascii"))["cases"].items()
}
BOTH = [id for id in cases.CASES if id in RECORDED]
"""Cases with a recording; the first test says so when one has none."""

# Where tf1bn is meant to differ from 1.15.5: {start of the id: (what tf1bn raises, why)}.
DEVIATIONS = {
    "mistake/rank0-": ("ValueError", "1.15.5 builds a layer that nothing can be fed to (A, D)"),
    "mistake/rank1_NCHW-": ("ValueError", "1.15.5 raises an IndexError about its own list (A, D)"),
    "mistake/is_training_None-": ("ValueError", "1.15.5 takes None for Keras' hidden learning phase (B, C)"),
}

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
)
REPLAYS = [("reference", id) for id in BOTH] + [
    ("resource", id) for id in BOTH if cases.CASES[id].group in ALSO_RESOURCE
]


def test_every_case_has_a_recording_and_every_recording_a_case():
    missing = [id for id in cases.CASES if id not in RECORDED]
    assert not missing, f"not recorded, run tests/golden/record.py --write: {missing}"
    left_over = [id for id in RECORDED if id not in cases.CASES]
    assert not left_over, f"recorded and no longer in tests/golden/cases.py: {left_over}"


@pytest.mark.parametrize("group", cases.GROUPS)
def test_recordings_say_what_made_them(group):
    path = FOLDER / f"{group}.json"
    recording = json.loads(path.read_text("ascii"))
    assert path.stat().st_size < 1_000_000
    assert recording["tensorflow"] == "1.15.5"
    assert recording["python"].startswith("3.7.")
    assert recording["command"] == "python tests/golden/record.py --write"
    assert list(recording["cases"]) == [case.id for case in cases.GROUPS[group]]


# Rows whose name says what was asked for and whose rank or `fused` then leads elsewhere.
OTHER_PATH = ("mistake/rank", "mistake/fused", "resource/rank2")


@pytest.mark.parametrize("id", BOTH)
def test_recorded_code_path_is_the_one_in_the_name(id):
    recorded, last = RECORDED[id], id.rsplit("-", 1)[-1]
    if "path" not in recorded:
        assert recorded["error"]["when"] == "build"
    elif last in ("A", "A2", "B", "C", "D") and not id.startswith(OTHER_PATH):
        assert recorded["path"] == last[0]
    else:
        assert recorded["path"] in ("A", "B", "C", "D")


# ---------------------------------------------------------------- replay


class Tally:
    def __init__(self):
        self.same = self.all = 0
        self.worst = collections.Counter()

    def count(self, got, wanted):
        self.same += int(sum(repr(g) == repr(w) for g, w in zip(got, wanted, strict=True)))
        self.all += len(wanted)


@pytest.fixture(scope="module")
def tally(request):
    result = Tally()
    yield result
    if result.all:
        share = 100 * result.same / result.all
        case, worst = result.worst.most_common(1)[0]
        with request.config.pluginmanager.get_plugin("capturemanager").global_and_fixture_disabled():
            print(
                f"\ngolden replay: {result.same} of {result.all} values ({share:.2f} %) are bit-identical to "
                f"TF 1.15.5; the worst of the others uses {worst:.2f} of its bound ({case})"
            )


@pytest.fixture
def mode(request):
    """TF1's reference variables and control flow, or what TensorFlow 2 does by default."""
    resource, control = tf.resource_variables_enabled(), tf.control_flow_v2_enabled()
    if request.param == "reference":
        tf.disable_resource_variables()
        tf.disable_control_flow_v2()
    else:
        tf.enable_resource_variables()
        tf.enable_control_flow_v2()
    yield request.param
    (tf.enable_resource_variables if resource else tf.disable_resource_variables)()
    (tf.enable_control_flow_v2 if control else tf.disable_control_flow_v2)()


@pytest.mark.parametrize(("mode", "id"), REPLAYS, indirect=["mode"])
def test_replay(id, mode, tally):
    case, recorded = cases.CASES[id], RECORDED[id]
    api = cases.Api(tf, tf1bn.batch_norm, tf1bn.contrib.framework.arg_scope)
    played = json.loads(json.dumps(cases.play(api, case)))
    deviation = [kind for start, (kind, _) in DEVIATIONS.items() if id.startswith(start)]
    if deviation:
        assert played["error"]["kinds"][0] == deviation[0]
    elif "error" in recorded or "error" in played:
        assert_same_error(case, played.get("error"), recorded.get("error"))
    else:
        assert_same_graph(played["graph"], recorded["graph"], mode)
        assert_same_numbers(case, played, recorded, tally)


def assert_same_error(case, played, recorded):
    assert recorded is not None, f"{case.id}: TF 1.15.5 raises nothing here, tf1bn: {played}"
    assert played is not None, f"{case.id}: tf1bn raises nothing here, TF 1.15.5: {recorded}"
    assert recorded["kinds"][0] in played["kinds"], (played, recorded)
    assert played["when"] == recorded["when"], (played, recorded)


def assert_same_graph(played, recorded, mode):
    if mode == "resource":
        played, recorded = without_operation_names(played), without_operation_names(recorded)
    for part in ("variables", "collections", "outputs"):
        assert played[part] == recorded[part], f"{part}: {played[part]} here, {recorded[part]} in TF 1.15.5"


def without_operation_names(graph):
    """What the recordings, made with reference variables, say about a graph of another kind of variable."""

    def anonymous(items):
        return [item if item[0] == "Variable" and item[1].endswith(":0") else "an operation" for item in items]

    return {
        "variables": [[name, shape, dtype.replace("_ref", "")] for name, shape, dtype in graph["variables"]],
        "collections": {key: anonymous(items) for key, items in graph["collections"].items()},
        "outputs": [
            {key: len(value) if key == "updates" else value for key, value in output.items() if key != "name"}
            for output in graph["outputs"]
        ],
    }


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
    replayed = list(numbers_of(case, played))
    original = list(numbers_of(twin, recorded))
    errors = list(errors_of(twin, recorded))
    assert [key for key, _ in replayed] == [key for key, _ in original] == [key for key, _ in errors]
    if case.any_order:
        assert_some_order(case, recorded)
        assert_some_order(case, played)
    for (key, got), (_, wanted), (_, error) in zip(replayed, original, errors, strict=True):
        if case.any_order and "/moving_" in key[-1]:
            continue
        if wanted is None or got is None:
            assert got is wanted, key
            continue
        tally.count(got.ravel().tolist(), wanted.ravel().tolist())
        assert got.shape == wanted.shape, key
        used = share_of_bound(got, wanted, 2 * error)
        tally.worst[case.id] = max(tally.worst[case.id], float(used.max(initial=0)))
        worst = np.unravel_index(used.argmax(), used.shape)
        assert used.max() <= 1, (
            f"{key}: {int((used > 1).sum())} of {used.size} values differ by more than rounding explains; "
            f"worst at {[int(i) for i in worst]}: {got[worst]} here, {wanted[worst]} in TF 1.15.5, "
            f"{used[worst]:.3g} times the bound"
        )


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
        assert min(share_of_bound(after[i], outcome[i], allowed).max() for outcome in outcomes) <= 1, which


def share_of_bound(got, wanted, allowed):
    """Distance in units of what is allowed; 0 where both are the same, infinite where a NaN stands alone."""
    got, wanted, allowed = np.broadcast_arrays(np.float64(got), np.float64(wanted), np.float64(allowed))
    with np.errstate(all="ignore"):
        used = np.abs(got - wanted) / allowed
    same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
    return np.where(same, 0.0, np.where(np.isfinite(used), used, np.inf))


def numbers_of(case, result):
    """Every number of a recording with a key that says which, as [N, C] or [C], channels last."""
    variables = {name: dtype.replace("_ref", "") for name, _, dtype in result["graph"]["variables"]}
    outputs = result["graph"]["outputs"]
    shape = case.placed(np.empty(case.shape)).shape

    def by_channel(listed, dtype):
        array = cases.array_of(listed, dtype)
        if array.size == np.prod(shape):
            array = case.channels_last(array.reshape(shape))
            return array.reshape(-1, array.shape[-1])
        return array

    state = dict(result["initial"], **result["start"])
    for number, step in enumerate(result["steps"]):
        for i in sorted(step["outputs"]):
            yield (
                (number, step["mode"], "output", i),
                by_channel(step["outputs"][i], outputs[int(i)]["dtype"]),
            )
        for i, named in sorted(step.get("gradients", {}).items()):
            for name, listed in sorted(named.items()):
                if name == "x" and listed is not None:
                    yield (number, step["mode"], "gradient", i, name), by_channel(listed, case.dtype)
                else:
                    value = None if listed is None else cases.array_of(listed, variables[name])
                    yield (number, step["mode"], "gradient", i, name), value
        state.update(step["variables"])
        for name in sorted(variables):
            yield (number, step["mode"], "variable", name), cases.array_of(state[name], variables[name])


def errors_of(case, recorded):
    """The rounding-error bound of every number that ``numbers_of`` yields, in the same order.

    Computed from the inputs and the recording alone, so the replay has no influence on what it is allowed.
    """
    half = case.dtype == "float16"
    fused = recorded["path"] in "AB"
    u = bounds.UNIT["float32" if half and fused else case.dtype]
    output_u = bounds.UNIT[case.dtype] if half and fused else 0.0
    arguments = case.layer or {}
    epsilon = arguments.get("epsilon", 1e-3)
    if fused:
        epsilon = max(epsilon, bounds.EPSILON_FLOOR)
    outputs = recorded["graph"]["outputs"]
    variables = {name: dtype.replace("_ref", "") for name, _, dtype in recorded["graph"]["variables"]}
    now = {n: cases.array_of(v, variables[n]).astype(float) for n, v in recorded["initial"].items()}
    now.update({n: cases.array_of(v, variables[n]).astype(float) for n, v in recorded["start"].items()})
    error = dict.fromkeys(variables, 0.0)
    weights = case.channels_last(case.weights()).astype(float)
    weights = weights.reshape(-1, weights.shape[-1])

    for number, step in enumerate(recorded["steps"]):
        training = step["mode"] == "train"
        after = dict(now)
        after.update({n: cases.array_of(v, variables[n]).astype(float) for n, v in step["variables"].items()})
        batches, layers = [], {}
        for i in sorted(step["outputs"]):
            batches.append(batch_of(case, step, number, outputs[int(i)]["source"], layers, u))
            uses = {name.split("/")[-1]: f"{name}:0" for name in outputs[int(i)]["uses"]}
            mean, variance = batches[-1].mean, batches[-1].variance
            mean_error, variance_error = batches[-1].mean_error, batches[-1].variance_error
            if not training:
                mean, variance = now[uses["moving_mean"]], now[uses["moving_variance"]]
                mean_error, variance_error = error[uses["moving_mean"]], error[uses["moving_variance"]]
            gamma, beta = (now[uses[k]] if k in uses else np.float64(d) for k, d in (("gamma", 1), ("beta", 0)))
            layers[i] = bounds.Normalised(
                batches[-1], mean, variance, mean_error, variance_error, gamma, beta, epsilon, u, output_u
            )
            yield (number, step["mode"], "output", i), layers[i].output_error
        for i, named in sorted(step.get("gradients", {}).items()):
            allowed = layers[i].gradients(weights, training)
            allowed["x"] = allowed["x"] + output_u * np.abs(weights) * 4
            for name in sorted(named):
                yield (number, step["mode"], "gradient", i, name), allowed[name.split(":")[0].split("/")[-1]]
        if training:
            error.update(statistics_errors(now, after, error, batches, u))
        now = after
        for name in sorted(variables):
            yield (number, step["mode"], "variable", name), np.broadcast_to(error[name], np.shape(now[name]))


def batch_of(case, step, number, source, layers, u):
    if isinstance(source, int):
        return bounds.Batch(case.channels_last(case.batch(number, source)), u)
    first = layers[source.split()[1]]
    listed = cases.array_of(step["outputs"][source.split()[1]], case.dtype)
    array = case.channels_last(listed.reshape(case.placed(np.empty(case.shape)).shape))
    return bounds.Batch(array, u, dx=first.output_error)


def statistics_errors(before, after, error, batches, u):
    result = {}
    for name in before:
        if not name.endswith("moving_mean:0"):
            continue
        partner = name.replace("moving_mean", "moving_variance")
        rate = max(bounds.rate_of(before[name], after[name], batch.mean) for batch in batches)
        for which, attribute in ((name, "mean"), (partner, "variance")):
            result[which] = np.max(
                [
                    bounds.moved(
                        before[which],
                        after[which],
                        getattr(batch, attribute),
                        getattr(batch, attribute + "_error"),
                        error[which],
                        rate,
                        u,
                    )
                    for batch in batches
                ],
                axis=0,
            )
    return result


# ---------------------------------------------------------------- rival hypotheses


def rates_of(case, path):
    """1 - decay of every training step as TF 1.15 rounds it, or None when a tensor decides."""
    decay = case.layer.get("decay", 0.999)
    if isinstance(decay, cases.Make):
        return None
    return 1.0 - np.float64(np.float32(decay)) if path == "B" else np.float64(np.float32(1.0 - decay))


SINGLE = [
    id
    for id in BOTH
    if cases.CASES[id].layer is not None
    and cases.CASES[id].dtype != "float16"
    and cases.CASES[id].data != "nan"
    and "steps" in RECORDED[id]
    and rates_of(cases.CASES[id], RECORDED[id]["path"]) is not None
]


@pytest.mark.parametrize("id", SINGLE)
def test_recording_follows_the_formula_and_no_rival(id):
    """Each rival hypothesis misses the recorded statistics by > 100 times the bound, the right one hits."""
    case, recorded = cases.CASES[id], RECORDED[id]
    path, rate = recorded["path"], rates_of(case, recorded["path"])
    if not case.layer.get("trainable", True) and path in "BC":
        rate = 0.0
    u = bounds.UNIT[case.dtype]
    bessel = path in "AB"
    names = [f"net/bn/moving_{which}:0" for which in ("mean", "variance")]
    dtypes = {name: dtype.replace("_ref", "") for name, _, dtype in recorded["graph"]["variables"]}
    state = dict(recorded["initial"], **recorded["start"])
    missed = collections.defaultdict(float)
    previous = None
    for number, step in enumerate(recorded["steps"]):
        before = [cases.array_of(state[name], dtypes[name]).astype(float) for name in names]
        state.update(step["variables"])
        after = [cases.array_of(state[name], dtypes[name]).astype(float) for name in names]
        if step["mode"] == "test":
            assert [list(a) for a in after] == [list(b) for b in before]
            continue
        batch = bounds.Batch(case.channels_last(case.batch(number)), u)
        allowed = [
            bounds.moved(before[0], after[0], batch.mean, batch.mean_error, 0.0, rate, u),
            bounds.moved(before[1], after[1], batch.variance, batch.variance_error, 0.0, rate, u),
        ]

        def miss(predicted, after=after, allowed=allowed):
            return max(share_of_bound(p, a, e).max() for p, a, e in zip(predicted, after, allowed, strict=True))

        assert miss(bounds.statistics_after(*before, batch, rate, bessel)) <= 1
        rivals = {}
        if rate > 0:
            if batch.count > 1:
                rivals["the other variance"] = bounds.statistics_after(*before, batch, rate, not bessel)
            rivals["no update"] = before
            if previous is not None and case.data != "constant":
                rivals["one step late"] = bounds.statistics_after(*before, previous, rate, bessel)
        if rate != 0.5:
            rivals["decay and 1 - decay swapped"] = bounds.statistics_after(*before, batch, 1 - rate, bessel)
        for rival, predicted in rivals.items():
            missed[rival] = max(missed[rival], miss(predicted))
        previous = batch
    assert missed, "no rival applies to this case"
    assert min(missed.values()) > 100, dict(missed)


@pytest.mark.parametrize("id", ["decay/default-B", "decay/0.999-B", "decay/default-dynamic-B"])
def test_core_fused_path_rounds_decay_to_float32(id):
    """From a moving mean of 0 the relative error of the rate, 1.3e-5, shows at once."""
    case, recorded = cases.CASES[id], RECORDED[id]
    batch = bounds.Batch(case.batch(0), bounds.UNIT["float32"])
    first = recorded["steps"][0]["variables"]["net/bn/moving_mean:0"]
    allowed = bounds.moved(0.0, np.array(first), batch.mean, batch.mean_error, 0.0, 0.001, bounds.UNIT["float32"])
    rounded, exact = ((1 - np.float64(decay)) * batch.mean for decay in (np.float32(0.999), 0.999))
    assert share_of_bound(rounded, first, allowed).max() <= 1
    assert share_of_bound(exact, first, allowed).min() > 5
