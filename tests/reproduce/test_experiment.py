"""The experiment and its checks: what holds on the real layer, and what turns false on sabotaged ones."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow
import tiers
from sabotage import (
    bessel,
    decay_swapped,
    moves_at_test,
    nan_at_test,
    no_update,
    stale_test,
    trains_at_test,
    updates_first,
)

import tf1bn
from tf1bn import checker, errors, releases
from tf1bn.checker import outputs
from tf1bn.layers import release_scope
from tf1bn.reproduce import article, conclusions, decay_sweep, devices, experiment, listing_check

tf = tensorflow.compat.v1


def run_and_check(layer=tf1bn.batch_norm, fused=False):
    runs = [
        experiment.run_listing(experiment.Spec(e.decay, fused, "1.3", "article", e.batch()), layer=layer)
        for e in article.EXPERIMENTS
    ]
    return runs, [listing_check.check_run(run) for run in runs]


def verdicts_of(layer=tf1bn.batch_norm, fused=False):
    """The verdicts: ids of the conclusions that hold, "checker" and "article"."""
    runs, checks = run_and_check(layer, fused)
    sweep = experiment.run_sweep(article.EXPERIMENTS[0].batch(), (0.0, 0.9, 1.0), 3, (), layer=tf1bn.batch_norm)
    compared = [
        listing_check.compare_with_article(*each) for each in zip(runs, checks, article.EXPERIMENTS, strict=True)
    ]
    verdicts = {row["id"] for row in conclusions.check_conclusions(*runs, checks, sweep) if row["holds"]}
    if all(check.agrees for check in checks):
        verdicts.add("checker")
    if all(result.agrees for result in compared):
        verdicts.add("article")
    return verdicts


def test_the_real_layer_passes():
    assert verdicts_of() == {1, 2, 3, 4, "checker", "article"}


@pytest.mark.parametrize(
    ("layer", "must_fail", "must_hold"),
    tiers.slow_after(
        4,
        [
            (no_update, {1, 2, 3, "checker", "article"}, {4}),
            (bessel, {3, "checker", "article"}, {1, 2, 4}),
            (decay_swapped, {1, 3, 4, "checker", "article"}, set()),
            (updates_first, {3, 4, "checker", "article"}, {1, 2}),
            (stale_test, {2, "checker", "article"}, {1, 3, 4}),
            (trains_at_test, {2, 4, "checker", "article"}, {3}),
            (moves_at_test, {1, 4, "checker", "article"}, {3}),
            (nan_at_test, {2, 4, "checker", "article"}, {1, 3}),
        ],
    ),
    ids=lambda value: getattr(value, "__name__", None),
)
def test_sabotage_turns_the_right_verdict_false(layer, must_fail, must_hold):
    verdicts = verdicts_of(layer)
    assert verdicts.isdisjoint(must_fail)
    assert must_hold <= verdicts


def test_a_decay_that_changes_training_outputs_breaks_conclusion_3():
    """The article's two runs use different inputs; only the sweep can see that outputs depend on decay."""

    def leaks_decay(x, decay, is_training, **arguments):
        y = tf1bn.batch_norm(x, decay, is_training=is_training, **arguments)
        return y * (1 + 2.0**-22 * decay) if is_training else y

    runs, checks = run_and_check()
    batch = article.EXPERIMENTS[0].batch()
    for layer, holds in ((tf1bn.batch_norm, True), (leaks_decay, False)):
        sweep = experiment.run_sweep(batch, (0.0, 0.9, 1.0), 3, (), layer=layer)
        third = conclusions.check_conclusions(*runs, checks, sweep)[2]
        assert third["holds"] is holds, third
        assert ("NOT the same" in third["evidence"]) is not holds


def test_with_the_fused_default_conclusions_survive_and_digits_do_not():
    runs, checks = run_and_check(fused=True)
    summary = conclusions.release_summary("1.15", *runs, checks)
    assert summary["fused"] is True
    assert [row["holds"] for row in summary["conclusions"]] == [True] * 4
    assert summary["checker_agrees"]
    assert not summary["test_equals_training_output"]
    # sqrt(15/16), but for epsilon: (v + eps) / (16/15 v + eps) differs from 15/16 by less than eps / v
    variance = article.EXPERIMENTS[0].moving_variance
    assert abs(summary["expected_ratio"] ** 2 - 15 / 16) < article.EPSILON / variance
    _, bound = checks[0].training_output
    test_bound = checks[0].test_output[1]
    size = np.abs(runs[0].train.output).max()
    assert abs(summary["test_over_training"] - summary["expected_ratio"]) <= 2 * (bound + test_bound).max() * size


def test_with_the_composed_default_digits_survive():
    runs, checks = run_and_check()
    summary = conclusions.release_summary("1.3", *runs, checks)
    assert summary["test_equals_training_output"]
    assert summary["expected_ratio"] == 1.0


@pytest.mark.parametrize("name", releases.NAMES)
def test_the_listing_as_each_release_ran_it(name):
    """The real 1.3.0 and older print the same digits in testing; 1.4.0, 1.4.1 and 1.15.0 sqrt(15/16) of them."""
    printed = article.EXPERIMENTS[0]
    fused = int(name.split(".")[1]) >= 4
    run = experiment.run_listing(experiment.Spec(0.0, fused, name, "article", printed.batch()))
    check = listing_check.check_run(run)
    assert check.agrees, check.problems
    stored = 16 / 15 if fused else 1
    # Two roundings of the variance, its sum's and its store's, are far below 1e-5 of it.
    assert run.train.after["moving_variance"][0] == pytest.approx(stored * printed.moving_variance, rel=1e-5)
    assert run.test.output == pytest.approx(run.train.output / stored**0.5, rel=1e-4)


def test_the_release_is_in_force_while_its_listing_is_built():
    seen = []

    def layer(x, decay, **arguments):
        seen.append(release_scope.current().name)
        return tf1bn.batch_norm(x, decay, **arguments)

    experiment.run_listing(experiment.Spec(0.5, True, "1.7", "article", article.EXPERIMENTS[0].batch()), layer=layer)
    assert seen == ["1.7", "1.7"]


def test_a_nan_stays_in_its_channel_and_is_a_finding():
    batch = np.random.default_rng(0).uniform(0, 255, (4, 2, 2, 3)).astype(np.float32)
    batch[1, 0, 1, 2] = np.nan
    run = experiment.run_listing(experiment.Spec(0.5, False, "1.3", "random", batch))
    assert np.isnan(run.train.after["moving_mean"]).tolist() == [False, False, True]
    check = listing_check.check_run(run)
    assert not check.agrees
    assert not check.trained
    assert any("moving_mean" in problem and "2" in problem for problem in check.problems), check.problems


@pytest.mark.parametrize("decay", tiers.slow_but([0.999], [0.0, 0.3, 0.999, 1.0]))
@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 2), (2, 3, 3, 4), (2, 2, 2, 2, 3), (1, 1, 1, 2)])
@pytest.mark.parametrize("fused", [False, True])
def test_real_runs_of_other_shapes_agree(decay, shape, fused):
    batch = np.random.default_rng(len(shape)).uniform(0, 255, shape).astype(np.float32)
    spec = experiment.Spec(decay, fused and len(shape) in (2, 4), "1.15", "random", batch)
    run = experiment.run_listing(spec)
    assert run.ran_fused is spec.fused
    check = listing_check.check_run(run)
    assert check.agrees, check.problems


def test_the_prints_are_those_of_the_article():
    run = run_and_check()[0][0]
    names = [name for name, _ in run.train.printed_before]
    assert names == [
        "<tf.Variable 'my/BatchNorm/beta:0' shape=(1,) dtype=float32_ref>",
        "<tf.Variable 'my/BatchNorm/moving_mean:0' shape=(1,) dtype=float32_ref>",
        "<tf.Variable 'my/BatchNorm/moving_variance:0' shape=(1,) dtype=float32_ref>",
    ]
    assert [value for _, value in run.train.printed_before] == ["[0.]", "[0.]", "[1.]"]


def test_the_sweep_measures_what_the_closed_form_says():
    batch = article.EXPERIMENTS[0].batch()
    sweep = experiment.run_sweep(batch, (0.0, 0.5, 0.9, 1.0), 60, (3, 44))
    assert sweep.test_steps == (0, 1, 3, 44, 60)
    assert sweep.mean.shape == sweep.variance.shape == (4, 61, 1)
    rows = decay_sweep.sweep_rows(sweep)
    assert [row["agrees"] for row in rows] == [True] * 4
    assert [row["steps_to_99"] for row in rows] == [1, 7, 44, None]
    assert [row["steps_to_99_measured"] for row in rows] == [1, 7, 44, None]
    assert [row["steps"] for row in rows] == [60] * 4
    # d = 1: nothing moves, and the error is that of testing with 0 and 1, in exact terms of the batch
    assert (rows[3]["mean"], rows[3]["variance"]) == (0.0, 1.0)
    json.dumps(rows, allow_nan=False)


@pytest.mark.parametrize("layer", [no_update, decay_swapped, bessel])
def test_the_sweep_does_not_agree_with_a_sabotaged_layer(layer):
    sweep = experiment.run_sweep(article.EXPERIMENTS[0].batch(), (0.9,), 5, (), layer=layer)
    assert not decay_sweep.sweep_rows(sweep)[0]["agrees"]


@pytest.mark.parametrize(
    ("decay", "steps"), [(0, 1), (0.1, 2), (0.5, 7), (0.9, 44), (0.99, 459), (0.999, 4603), (1, None)]
)
def test_steps_to_carry(decay, steps):
    """Smallest t with 1 - d^t >= .99, which is ln .01 / ln d rounded up (for d = .1 exactly 2)."""
    assert decay_sweep.steps_to_carry(decay) == steps


def test_the_recovered_batches_have_the_moments_that_were_printed():
    """Exact check of the recovery: population moments of the decay-0 input are the printed statistics."""
    printed = article.EXPERIMENTS[0]
    moments = checker.batch_moments(printed.batch())
    unit = 2.0**-24
    # The printed output carries float32 rounding of itself, and printed values are rounded once more.
    reach = 16 * unit * (abs(printed.moving_mean) + np.sqrt(printed.moving_variance))
    assert abs(moments.mean[0] - printed.moving_mean) <= reach
    assert abs(moments.variance[0] - printed.moving_variance) <= 2 * reach * np.sqrt(printed.moving_variance)


def test_what_the_checks_are_sensitive_to():
    """Errors a few hundred times float32 rounding are seen, so the bounds are not merely safe."""

    def slightly_off(x, decay, is_training, **arguments):
        return tf1bn.batch_norm(x, decay, is_training=is_training, **arguments) * (1 + 2.0**-11)

    _, checks = run_and_check(slightly_off)
    assert not any(check.outputs for check in checks)
    runs, checks = run_and_check()
    for run, check, printed in zip(runs, checks, article.EXPERIMENTS, strict=True):
        # ten thousand times the size of a rounding of what is compared
        for name, change in (("training_output", 6e-4), ("test_output", 0.13), ("moving_variance", 2.0)):
            old = getattr(printed, name)
            new = old + change if name == "moving_variance" else (*old[:-1], old[-1] + change)
            comparison = listing_check.compare_with_article(run, check, printed)
            off = dataclasses.replace(
                comparison, differences={**comparison.differences, name: np.asarray(new) - np.asarray(old)}
            )
            assert comparison.agrees
            assert not off.agrees


def test_wide_bounds_decide_nothing_and_are_finite():
    x = np.linspace(0, 255, 6).reshape(6, 1)
    expected, bound = outputs.expected_output(x, 100.0, 50.0, 1.0, 1000.0, epsilon=article.EPSILON)
    assert np.isfinite(bound).all()
    assert (bound > np.abs(expected)).any()
    assert not outputs.within(x, x, np.inf)


def test_the_real_layer_on_constant_data_is_no_false_alarm():
    for value in (0.1, 100.0, 1e4, 1e5):
        batch = np.full((4, 4, 4, 1), value, np.float32)
        check = listing_check.check_run(experiment.run_listing(experiment.Spec(0.5, False, "1.3", "random", batch)))
        assert not check.problems, (value, check.problems)


@pytest.mark.parametrize(("name", "change"), [("mean", 1.001), ("variance", 1.001), ("test_outputs", 1.001)])
def test_every_part_of_the_sweep_is_checked(name, change):
    sweep = experiment.run_sweep(article.EXPERIMENTS[0].batch(), (0.9,), 50, ())
    assert decay_sweep.sweep_rows(sweep)[0]["agrees"]
    off = dataclasses.replace(sweep, **{name: getattr(sweep, name) * np.float32(change)})
    assert not decay_sweep.sweep_rows(off)[0]["agrees"]


def test_statistics_that_change_between_the_phases_break_conclusion_2():
    runs, checks = run_and_check()
    changed = dataclasses.replace(
        runs[0].test, before={name: np.nextafter(v, np.inf) for name, v in runs[0].test.before.items()}
    )
    runs[0] = dataclasses.replace(runs[0], test=changed)
    second = conclusions.check_conclusions(*runs, checks)[1]
    assert not second["holds"]
    assert "CHANGED before testing" in second["evidence"]


def test_a_test_that_moves_statistics_at_decay_1_alone_breaks_conclusion_1():
    right, sabotaged = run_and_check(), run_and_check(moves_at_test)
    runs, checks = [right[0][0], sabotaged[0][1]], [right[1][0], sabotaged[1][1]]
    assert not conclusions.check_conclusions(*runs, checks)[0]["holds"]


def test_a_wrong_training_output_at_decay_1_alone_breaks_conclusion_4():
    def doubled(x, decay, is_training, **arguments):
        y = tf1bn.batch_norm(x, decay, is_training=is_training, **arguments)
        return y * 2 if is_training else y

    right, sabotaged = run_and_check(), run_and_check(doubled)
    runs, checks = [right[0][0], sabotaged[0][1]], [right[1][0], sabotaged[1][1]]
    verdicts = conclusions.check_conclusions(*runs, checks)
    assert not verdicts[3]["holds"]
    assert "should be the batch's own" in verdicts[2]["evidence"]


def test_the_evidence_does_not_claim_what_failed():
    runs, checks = run_and_check(no_update)
    first, _, third, _ = conclusions.check_conclusions(*runs, checks)
    assert "should have moved" in first["evidence"]
    assert "where 1 - decay was expected" in third["evidence"]
    runs, checks = run_and_check(stale_test)
    assert "Test outputs should be" in conclusions.check_conclusions(*runs, checks)[1]["evidence"]


class FakeSession:
    """A session whose run went where the test says."""

    def __init__(self, nodes):
        self.nodes = nodes

    def run(self, fetches, feed_dict, options, run_metadata):
        assert options.output_partition_graphs
        graph = run_metadata.partition_graphs.add()
        for name, op, device in self.nodes:
            graph.node.add(name=name, op=op, device=device)
        return "values"


def test_placement_is_what_the_partition_graphs_say():
    prefix = "/job:localhost/replica:0/task:0/device:"
    fake = FakeSession(
        [
            ("my/BatchNorm/Mul", "Mul", prefix + "GPU:1"),
            ("my/BatchNorm/ones", "Const", prefix + "CPU:0"),
            ("my/Other/Mul", "Mul", prefix + "CPU:3"),
        ]
    )
    assert devices.run_with_devices(fake, None, {}, "my/BatchNorm") == ("values", {"GPU:1"})


def test_what_is_asked_of_tensorflow_for_each_device(monkeypatch):
    asked = {}
    monkeypatch.setattr(devices.tf, "Session", lambda config: config)
    for rewrite in (True, False):
        rewriting = devices.open_session("auto", rewrite=rewrite).graph_options.rewrite_options
        assert rewriting.disable_meta_optimizer is not rewrite
    for device in ("auto", "cpu", "gpu"):
        config = devices.open_session(device)
        assert config.gpu_options.allow_growth
        asked[device] = dict(config.device_count)
    assert asked == {"auto": {}, "cpu": {"GPU": 0}, "gpu": {}}
    for device, expected in (("auto", ""), ("cpu", "/device:CPU:0"), ("gpu", "/device:GPU:0")):
        with tf.Graph().as_default(), devices.device_scope(device):
            assert tf.constant(1.0).device.endswith(expected)
            assert bool(tf.constant(1.0).device) is bool(expected)


def test_a_sweep_of_few_steps_is_not_rewritten_and_gives_the_same_bits(monkeypatch):
    opened, batch = [], article.EXPERIMENTS[0].batch()

    def open_session(device, made=devices.open_session, **options):
        opened.append(options)
        return made(device, **options)

    monkeypatch.setattr(devices, "open_session", open_session)
    plain = experiment.run_sweep(batch, (0.0, 0.9), 40, (7,))
    monkeypatch.setattr(experiment, "WORTH_REWRITING", 40)
    rewritten = experiment.run_sweep(batch, (0.0, 0.9), 40, (7,))
    assert opened == [{"rewrite": False}, {"rewrite": True}]
    for name in ("mean", "variance", "test_outputs", "training_outputs"):
        assert getattr(plain, name).tobytes() == getattr(rewritten, name).tobytes()
    assert plain.devices == rewritten.devices


def test_placement_is_read_from_the_run():
    run = run_and_check()[0][0]
    assert run.devices
    assert all(device.split(":")[0] in {"CPU", "GPU"} for device in run.devices)
    on_cpu = experiment.run_listing(run.spec, device="cpu")
    assert on_cpu.devices == {"CPU:0"}


def test_placement_counts_only_work_below_the_scope():
    with tf.Graph().as_default():
        with tf.device("/CPU:0"):
            x = tf.placeholder(tf.float32, [2])
            with tf.variable_scope("a"):
                y = tf.identity(x + 1)
        with devices.open_session("cpu") as sess:
            values, used = devices.run_with_devices(sess, y, {x: [1.0, 2.0]}, "a")
            assert values.tolist() == [2.0, 3.0]
            assert used == {"CPU:0"}
            assert devices.run_with_devices(sess, y, {x: [1.0, 2.0]}, "b")[1] == set()


def test_a_device_that_is_not_there(monkeypatch):
    cpu = tensorflow.config.list_physical_devices("CPU")
    monkeypatch.setattr(tensorflow.config, "list_physical_devices", lambda kind=None: [] if kind == "GPU" else cpu)
    with pytest.raises(errors.DeviceUnavailableError, match=r"looked for a GPU .* found only CPU:0"):
        devices.require("gpu")
    devices.require("cpu")
    devices.require("auto")
    with pytest.raises(ValueError, match="`device` is 'tpu'; it must be"):
        devices.require("tpu")
