"""Every variant of the layer on a device, checked. Tests marked gpu are the same, on a GPU if there is one."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow
import tiers
from reference import channels_first, exact_moments, exact_moving
from sabotage import bessel, decay_swapped, nan_at_test, no_update, stale_test, trains_at_test, updates_first

import tf1bn
from tf1bn.checker import outputs as outputs_module
from tf1bn.reproduce import devices
from tf1bn.reproduce.variants import check as check_module
from tf1bn.reproduce.variants import expected as expected_module
from tf1bn.reproduce.variants import grid
from tf1bn.reproduce.variants import run as run_module

tf = tensorflow.compat.v1
ROOT = Path(__file__).resolve().parents[2]
DEVICES = ["cpu", pytest.param("gpu", marks=pytest.mark.gpu)]
KINDS = [variant for variant in grid.all_variants() if variant.shape == grid.SHAPES[0]]
FUSED, COMPOSED = KINDS[0], KINDS[4]


def expected(variant):
    return expected_module.ExpectedRun(variant, grid.DECAY)


def check(variant, device="cpu", layer=tf1bn.batch_norm):
    return check_module.check_variant(grid.run_variant(variant, device, layer), expected(variant))


def on_the_gpu(run, **changes):
    """What ran on the CPU, as if on a GPU."""
    placements = tuple(placement._replace(device="GPU:0") for placement in run.placements)
    return dataclasses.replace(run, device="gpu", **{"placements": placements, **changes})


def moved(run, quantity, change):
    """With its last statistics off by ``change``, and the test's output made from them."""
    statistics = {name: values.copy() for name, values in run.statistics.items()}
    statistics[quantity][-2:] += change
    mean, variance = (values[-2].astype(np.float64) for values in statistics.values())
    outputs = run.outputs.copy()
    outputs[-1] = (run.variant.batches()[-1] - mean) / np.sqrt(variance + 0.001)
    return dataclasses.replace(run, outputs=outputs, statistics=statistics)


def test_the_grid():
    assert [variant.name for variant in KINDS] == [
        f"{layer} {data_format} {dtype}"
        for layer in ("fused", "composed")
        for data_format in ("NHWC", "NCHW")
        for dtype in ("float32", "float16")
    ]
    assert len(grid.all_variants()) == 8 * len(grid.SHAPES)
    for variant in grid.all_variants():
        batches = variant.batches()
        assert batches.shape == (grid.STEPS + 1, *variant.shape)
        assert batches.dtype == variant.dtype
        sample = batches.astype(np.float64).reshape(len(batches), -1, variant.shape[-1])
        # Far from 0, and other ones in every step and channel.
        assert (np.abs(sample.mean(axis=1)) > 2 * sample.std(axis=1)).all()
        assert len(np.unique(np.abs(sample.mean(axis=1)))) == len(batches) * variant.shape[-1]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", tiers.slow_but(KINDS[::3], KINDS), ids=lambda kind: kind.name)
def test_every_variant_agrees(kind, device):
    for shape in grid.SHAPES:
        variant = dataclasses.replace(kind, shape=shape)
        row = check(variant, device)
        assert (row.problems, row.undecidable, row.notes) == ((), (), ())
        assert row.json["verdict"] == "ok"
        assert {each["device"] for each in row.json["operations"]} == {f"{device.upper()}:0"}
        assert {"AssignSubVariableOp", "Mul"} <= {each["operation"] for each in row.json["operations"]}
        # Training and testing, each with its own kernel.
        kernels = [
            each["operation"]
            for each in row.json["operations"]
            if "Rsqrt" in each["operation"] or "FusedBatchNorm" in each["operation"]
        ]
        assert len(kernels) == 2
        assert isinstance(row.json["same_bits_again"], bool)
        for quantity in expected_module.QUANTITIES:
            numbers = row.json[quantity]
            assert 0 < numbers["error"] <= numbers["allowed"]
            assert numbers["share"] == numbers["error"] / numbers["allowed"]


@pytest.mark.gpu
def test_cpu_and_gpu_differ_by_no_more_than_their_bounds():
    results = run_module.check_variants(("cpu", "gpu"))
    assert (results.problems, results.undecidable) == ([], [])
    assert {row["verdict"] for row in results.side_by_side} == {"ok"}


@pytest.mark.gpu
def test_the_gpu_has_a_name():
    details = devices.details()
    assert details["devices"][0]["name"]
    assert details["devices"][0]["compute_capability"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_expected_values_are_those_of_exact_arithmetic(kind):
    # float32 keeps (1 - decay) of the old value; the checker takes 1 - decay itself, here exactly.
    rate = 1.0 - grid.DECAY
    wanted = {(one.quantity, one.when): one.value for one in expected(kind).quantities}
    *batches, tested = (channels_first(batch, "NHWC") for batch in kind.batches())
    for channel in range(kind.shape[-1]):
        moments = [exact_moments(batch[channel]) for batch in batches]
        for step in range(1, grid.STEPS + 1):
            mean, variance = exact_moving((0, 1), moments[:step], rate=type(moments[0][1])(rate), bessel=kind.fused)
            assert abs(wanted["moving_mean", f"after step {step}"][channel] - float(mean)) <= 1e-14 * abs(float(mean))
            assert abs(wanted["moving_variance", f"after step {step}"][channel] - float(variance)) <= 1e-13 * variance
            of_the_batch = moments[step - 1][1:]
            outputs = [("training_output", f"of step {step}", batches[step - 1], of_the_batch)]
            if step == grid.STEPS:
                outputs.append(("test_output", "after training", tested, (mean, variance)))
            for quantity, when, batch, (m, v) in outputs:
                right = (batch[channel].astype(np.longdouble) - float(m)) / np.sqrt(np.longdouble(float(v)) + 0.001)
                got = wanted[quantity, when][..., channel].ravel()
                assert np.abs(got - right).max() <= 1e-13 * np.abs(right).max()


def test_the_bounds_are_narrow():
    """A tenth of a deviation at most, in float16; a thousandth in float32."""
    for variant in (variant for variant in grid.all_variants() if variant.data_format == "NHWC"):
        for quantity in expected(variant).quantities:
            narrow = 1e-3 if variant.dtype == "float32" else 0.1
            assert (quantity.bound <= narrow * np.maximum(1, np.abs(quantity.value))).all(), (
                variant,
                quantity.quantity,
            )
            assert (quantity.bound <= quantity.limit).all()


@pytest.mark.parametrize(
    ("layer", "quantities"),
    [
        (no_update, {"moving_mean", "moving_variance"}),
        (decay_swapped, {"moving_mean", "moving_variance"}),
        (updates_first, {"training_output"}),
        (stale_test, {"test_output"}),
        (trains_at_test, {"test_output"}),
        (nan_at_test, {"test_output"}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.parametrize("kind", [KINDS[2], KINDS[5]], ids=lambda kind: kind.name)
def test_a_wrong_layer_is_a_finding_in_its_quantities(kind, layer, quantities):
    row = check(kind, layer=layer)
    assert row.json["verdict"] == "finding"
    wrong = {name for name in expected_module.QUANTITIES if row.json[name]["verdict"] == "finding"}
    assert wrong == quantities
    assert all(any(name.replace("_output", " output") in problem for problem in row.problems) for name in wrong)
    assert all(f"{kind.name} 2x3x3x5 on the CPU" in problem for problem in row.problems)


@pytest.mark.parametrize("kind", KINDS[4:], ids=lambda kind: kind.name)
def test_bessel_is_seen_in_float16_too(kind):
    row = check(kind, layer=bessel)
    assert row.json["moving_variance"]["verdict"] == "finding"
    assert row.json["moving_mean"]["verdict"] == "ok" or kind.dtype == "float16"
    assert any("the layer that ran was the fused one" in problem for problem in row.problems)


def test_statistics_that_testing_moves_are_a_finding():
    row = check(FUSED, layer=trains_at_test)
    assert any("testing changed the moving statistics" in problem for problem in row.problems)
    run = grid.run_variant(FUSED, "cpu")
    assert check_module.check_variant(run, expected(FUSED)).problems == ()
    values = run.statistics["moving_variance"].copy()
    values[0] = np.nextafter(values[0], 2)
    run = dataclasses.replace(run, statistics={**run.statistics, "moving_variance": values})
    (problem,) = check_module.check_variant(run, expected(FUSED)).problems
    assert "moving_variance before training" in problem


def test_not_the_same_bits_twice_is_a_fact_and_no_failure():
    def noisy(x, decay, is_training, **arguments):
        y = tf1bn.batch_norm(x, decay, is_training=is_training, **arguments)
        return y * (1 + 2.0**-22 * tf.random.uniform(tf.shape(y)))

    row = check(FUSED, layer=noisy)
    assert (row.json["verdict"], row.json["same_bits_again"]) == ("ok", False)
    assert check(FUSED).json["same_bits_again"] is True


def has_no_kernel(x, decay, is_training, **arguments):
    """The layer behind an operation that TensorFlow has for NCHW on a GPU alone."""
    with tf.control_dependencies([tf.space_to_depth(x, 3, data_format="NCHW")]):
        x = tf.identity(x)
    return tf1bn.batch_norm(x, decay, is_training=is_training, **arguments)


def refuses_data(x, decay, is_training, **arguments):
    """The same type of error, which has nothing to do with the device."""
    with tf.control_dependencies([tensorflow.debugging.assert_less(tf.reduce_sum(x), tf.cast(-1e4, x.dtype))]):
        x = tf.identity(x)
    return tf1bn.batch_norm(x, decay, is_training=is_training, **arguments)


def breaks(x, decay, is_training, **arguments):
    raise tf.errors.InternalError(None, None, "cuDNN launch failure\n\t [[node]]")


def test_what_tensorflow_cannot_do_on_the_cpu_is_a_note():
    row = check(KINDS[2], layer=has_no_kernel)
    assert (row.problems, row.undecidable) == ((), ())
    assert row.json["verdict"] == "not run"
    assert row.json["reason"].startswith("No OpKernel was registered to support Op 'SpaceToDepth'")
    (note,) = row.notes
    assert note.startswith("fused NCHW float32 2x3x3x5 on the CPU was not run: TensorFlow says: ")
    assert row.json["training_output"] is None


def test_what_fails_otherwise_or_on_a_gpu_is_undecided():
    run = grid.run_variant(FUSED, "cpu", breaks)
    assert run == grid.NotRun(FUSED, "cpu", "cuDNN launch failure", impossible=False)
    impossible = grid.run_variant(KINDS[2], "cpu", has_no_kernel)
    assert impossible.impossible
    refused = grid.run_variant(FUSED, "cpu", refuses_data)
    assert not refused.impossible
    assert refused.reason.startswith("assertion failed: [Condition x < y did not hold")
    for each in (run, refused, dataclasses.replace(impossible, device="gpu")):
        row = check_module.check_variant(each, None)
        assert row.json["verdict"] == "undecided"
        assert row.json["reason"] == each.reason
        assert (len(row.undecidable), row.problems, row.notes) == (1, (), ())
        assert "was not run: TensorFlow says" in row.undecidable[0]


def test_an_operation_on_another_device_is_undecided():
    run = grid.run_variant(FUSED, "cpu")
    wanted = expected(FUSED)
    assert check_module.check_variant(on_the_gpu(run), wanted).json["verdict"] == "ok"
    strays = tuple(each._replace(device="CPU:0" if each.operation == "Mul" else "GPU:0") for each in run.placements)
    row = check_module.check_variant(on_the_gpu(run, placements=strays), wanted)
    assert (row.json["verdict"], row.problems) == ("undecided", ())
    (sentence,) = row.undecidable
    assert "fused NHWC float32 2x3x3x5 on the GPU did not run there: variant/BatchNorm/" in sentence
    assert "(Mul) on CPU:0" in sentence
    row = check_module.check_variant(on_the_gpu(run, placements=()), wanted)
    assert row.undecidable == ("fused NHWC float32 2x3x3x5 on the GPU did not run there: no operation was seen",)


# cuDNN's source is closed: E[x^2] - E[x]^2


def squares_subtracted(batch, total):
    """Mean and population variance of [N, C] by E[x^2] - E[x]^2, every operation in float32."""
    count = np.float32(len(batch))
    mean = total(batch) / count
    return mean, total(batch * batch) / count - mean * mean


def pairwise(terms):
    while len(terms) > 1:
        half = len(terms) // 2
        terms = np.concatenate([terms[:half] + terms[half : 2 * half], terms[2 * half :]])
    return terms[0]


@pytest.mark.parametrize("shape", grid.SHAPES)
def test_subtracted_squares_cover_that_form_and_the_bound_does_not(shape):
    beyond = []
    for total in (lambda terms: np.add.reduce(terms, axis=0), pairwise):
        for batch in dataclasses.replace(FUSED, shape=shape).batches():
            own = outputs_module.batch_statistics(batch)
            _, variance = squares_subtracted(batch.reshape(-1, shape[-1]), total)
            error = np.abs(variance - own.variance)
            extra = expected_module.subtracted_squares(tf1bn.checker.batch_moments(batch))
            assert (error <= own.variance_bound + extra).all()
            beyond.append((error / own.variance_bound).max())
    # So the difference is no theory: it would have been called wrong, or nearly.
    assert max(beyond) > 0.3


def test_a_variance_between_the_two_is_undecided_on_a_gpu_alone():
    run = grid.run_variant(FUSED, "cpu")
    wanted = expected(FUSED)
    last = [one for one in wanted.quantities if one.quantity == "moving_variance"][-1]
    assert (last.limit > 3 * last.bound).all()
    within, beyond = 2 * last.bound, 2 * last.limit
    row = check_module.check_variant(on_the_gpu(moved(run, "moving_variance", within)), wanted)
    assert (row.json["verdict"], row.problems) == ("undecided", ())
    assert all("E[x^2] - E[x]^2 in float32 would explain" in sentence for sentence in row.undecidable)
    assert check_module.check_variant(moved(run, "moving_variance", within), wanted).json["verdict"] == "finding"
    assert (
        check_module.check_variant(on_the_gpu(moved(run, "moving_variance", beyond)), wanted).json["verdict"]
        == "finding"
    )
    # The composed layer's sums are TensorFlow's own.
    composed, wanted = grid.run_variant(COMPOSED, "cpu"), expected(COMPOSED)
    row = check_module.check_variant(on_the_gpu(moved(composed, "moving_variance", within)), wanted)
    assert row.json["verdict"] == "finding"


# Side by side


def test_side_by_side_shows_the_difference_and_twice_the_bound():
    run = grid.run_variant(COMPOSED, "cpu")
    wanted = expected(COMPOSED)
    row = check_module.compare_devices(run, on_the_gpu(run), wanted)
    assert (row.json["verdict"], row.json["same_bits"], row.problems) == ("ok", True, ())
    assert all(row.json[name]["error"] == 0 for name in expected_module.QUANTITIES)
    last = [one for one in wanted.quantities if one.quantity == "moving_mean"][-1]
    for factor, verdict in ((1.9, "ok"), (2.1, "finding")):
        other = moved(run, "moving_mean", (factor * last.bound).astype(np.float32))
        row = check_module.compare_devices(run, on_the_gpu(other), wanted)
        assert (row.json["verdict"], row.json["same_bits"]) == (verdict, False)
        numbers = row.json["moving_mean"]
        difference = np.abs(other.statistics["moving_mean"][-2].astype(float) - run.statistics["moving_mean"][-2])
        worst = np.argmax(difference / last.bound)
        assert (numbers["error"], numbers["allowed"]) == (difference[worst], 2 * last.bound[worst])
        assert bool(row.problems) is (verdict == "finding")


@pytest.mark.parametrize("place", ["outputs", "statistics"])
def test_a_nan_is_not_close_to_anything(place):
    run = grid.run_variant(FUSED, "cpu")
    if place == "outputs":
        values = run.outputs.copy()
        values[-1, 0, 0, 0, 0] = np.nan
        other = dataclasses.replace(run, outputs=values)
    else:
        other = moved(run, "moving_mean", np.nan)
    for first, second in ((run, other), (other, run), (other, other)):
        row = check_module.compare_devices(first, on_the_gpu(second), expected(FUSED))
        assert row.json["verdict"] == "finding"
    assert check_module.check_variant(other, expected(FUSED)).json["verdict"] == "finding"


def test_what_one_device_could_not_run_is_not_compared():
    missing = grid.NotRun(FUSED, "gpu", "no kernel", impossible=True)
    row = check_module.compare_devices(grid.run_variant(FUSED, "cpu"), missing, expected(FUSED))
    assert (row.json["verdict"], row.json["same_bits"], row.problems, row.undecidable) == ("not run", None, (), ())


def test_where_the_variants_run(monkeypatch):
    for gpu in (False, True):
        monkeypatch.setattr(devices, "has_gpu", lambda gpu=gpu: gpu)
        assert run_module.variant_devices("auto", False) == run_module.variant_devices("cpu", False) == ()
        assert run_module.variant_devices("auto", True) == (("gpu",) if gpu else ("cpu",))
        assert run_module.variant_devices("cpu", True) == ("cpu",)
        assert run_module.variant_devices("gpu", False) == ("gpu",)
        assert run_module.variant_devices("both", False) == ("cpu", "gpu")


def test_the_integer_sums_of_cudnn_are_said(monkeypatch):
    monkeypatch.setattr(grid, "all_variants", list)
    name = "TF_USE_CUDNN_BATCHNORM_SPATIAL_PERSISTENT"
    for value, said in ((None, 0), ("0", 0), ("false", 0), ("1", 1), ("True", 1)):
        if value is not None:
            monkeypatch.setenv(name, value)
        assert sum(name in note for note in run_module.check_variants(("gpu",)).notes) == said
        assert run_module.check_variants(("cpu",)).notes == []


# The marker


@pytest.mark.slow
def test_the_gpu_tests_are_there_and_say_why_they_are_skipped():
    files = [str(ROOT / "tests" / "reproduce" / name) for name in ("test_variants.py", "test_devices.py")]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *files]
    skips = not devices.has_gpu()
    done = subprocess.run(
        [*command, *([] if skips else ["--collect-only"])], capture_output=True, text=True, cwd=ROOT, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if skips:
        assert "11 skipped" in done.stdout
        assert "device 'gpu' was asked for: looked for a GPU that TensorFlow" in done.stdout
        assert "passed" not in done.stdout
    else:
        assert "test_every_variant_agrees" in done.stdout
