"""Faults as they are made in Keras 3, and what an audit names first; test_keras_recorder.py has others."""

import numpy as np
import pytest
from recorded import verdicts
from traces import AROUND

from tf1bn import trace
from tf1bn.diagnosis import diagnose
from tf1bn.parity.traces.compare import compare_traces
from tf1bn.ranks.audit import audit_ranks

keras = pytest.importorskip("keras", reason="Keras is not installed")
from tf1bn.recorders.keras import Recorder, record  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="Keras runs on another backend"),
]
LAYERS = keras.layers


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.trace"


@pytest.fixture(autouse=True)
def _policy():
    keras.utils.set_random_seed(0)
    yield
    keras.mixed_precision.set_global_policy("float32")


def images(seed=0, batch=8):
    return np.random.default_rng(seed).normal(2, 1.5, (batch, 6, 6, 3)).astype(np.float32)


def small(**norm):
    bn1 = LAYERS.BatchNormalization(name="bn1", **{"momentum": 0.9, **norm})
    bn2 = LAYERS.BatchNormalization(momentum=0.8, name="bn2")
    return keras.Sequential([keras.Input((6, 6, 3)), LAYERS.Conv2D(4, 3), bn1, LAYERS.ReLU(), LAYERS.Conv2D(2, 1), bn2])


def first_causes(path):
    return {name: causes[:1] for name, (_, causes) in verdicts(path).items()}


def train(model, training=True, steps=4):
    import tensorflow as tf

    optimizer = keras.optimizers.SGD(0.1)
    for seed in range(steps):
        with tf.GradientTape() as tape:
            loss = keras.ops.mean((model(images(seed), training=training) - 1) ** 2)
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))


def test_momentum_of_pytorch(path):
    for name, momentum in (("old", 0.9), ("new", 0.1)):
        keras.utils.set_random_seed(0)
        model = small(momentum=momentum)
        with record(model, path.with_name(name), keep="all"):
            for seed in range(3):
                model(images(seed), training=True)
    result = compare_traces(trace.open(path.with_name("old")), trace.open(path.with_name("new")))
    wrong = {layer["old"]: layer["causes"][0]["id"] for layer in result["layers"] if layer["verdict"] != "ok"}
    assert wrong == {"bn1": "momentum-flipped"}


def test_a_loop_that_calls_with_training_false(path):
    """Gamma and beta are trained, so this is no evaluation."""
    model = small()
    with record(model, path, keep="all"):
        train(model, training=False)
    assert first_causes(path) == {"bn1": ["training-flag-off"], "bn2": ["training-flag-off"]}


def test_frozen_by_accident(path):
    model = small()
    model.get_layer("bn1").trainable = False
    with record(model, path, keep="all"):
        train(model)
    found = {result.name: result for result in diagnose(path)}
    # Keras runs it in inference mode, which is what freezing is for; the audit says so.
    assert found["bn1"].verdict == "ok"
    assert not trace.open(path).layers["bn1"].trainable
    assert found["bn2"].verdict == "ok"


def test_a_shared_layer(path):
    norm = LAYERS.BatchNormalization(momentum=0.9, name="bn")
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, norm(LAYERS.Conv2D(3, 1)(norm(inputs))))
    with record(model, path):
        for seed in range(3):
            model(images(seed), training=True)
    assert first_causes(path) == {"bn": ["double-update"]}


@pytest.mark.parametrize("synchronized", [False, True])
def test_replicas_that_are_not_synchronised(tmp_path, synchronized):
    """`synchronized=True` pools the batches of a strategy's replicas, and not those of processes by themselves."""
    paths = [str(tmp_path / f"run.rank{rank}.trace") for rank in range(2)]
    for rank, path in enumerate(paths):
        keras.utils.set_random_seed(0)
        model = small(synchronized=synchronized)
        with record(model, path, keep="inputs"):
            for step in range(3):
                model(images(2 * step + rank), training=True)
    result = audit_ranks(paths)
    assert (
        "Each rank has statistics of its own, so that a checkpoint holds those of one rank: bn1: " in result["notes"][0]
    )
    # As it was meant: the batches of both as one.
    meant = tmp_path / "meant.trace"
    with trace.Writer(meant) as writer:
        traces = [trace.open(path) for path in paths]
        writer.add_layers({"bn1": traces[0].layers["bn1"]})
        for steps in zip(*traces, strict=True):
            records = [step.layers["bn1"] for step in steps]
            entry = {name: getattr(records[0], name) for name in AROUND}
            entry["inputs"] = [np.asarray(each.inputs[0]) for each in records]
            writer.add_step({"bn1": entry | {"reduction": "pooled", "replicas": [0, 1]}}, training=True)
    assert first_causes(meant) == {"bn1": ["replica"]}


def test_an_average_of_weights_without_the_statistics(path):
    model = small()
    averaged = keras.models.clone_model(model)
    train(model)
    for old, new in zip(averaged.trainable_variables, model.trainable_variables, strict=True):
        old.assign(new)
    with record(averaged, path, keep="all"):
        for seed in range(3):
            averaged(images(seed), training=False)
    assert first_causes(path) == {"bn1": ["not-restored"], "bn2": ["not-restored"]}


def test_overflow_of_mixed_precision(path):
    keras.mixed_precision.set_global_policy("mixed_float16")
    model = small()
    with record(model, path):
        for scale in (1, 1e3, 1e5):
            model(images(0) * np.float32(scale), training=True)
    assert first_causes(path)["bn1"] == ["not-finite"]


def test_gradient_accumulation_is_one_update_for_each_batch(path):
    model = small()
    model.compile(keras.optimizers.SGD(0.1, gradient_accumulation_steps=3), "mse")
    y = np.zeros((48, 4, 4, 2), np.float32)
    model.fit(images(0, 48), y, batch_size=8, verbose=0, callbacks=[Recorder(path)])
    assert verdicts(path) == {"bn1": ("ok", []), "bn2": ("ok", [])}
    assert len(list(trace.open(path))) == 6


def test_recomputation_updates_twice(path):
    """`tf.recompute_grad` runs the layer again in the backward pass, and its statistics with it."""
    import tensorflow as tf

    norm = LAYERS.BatchNormalization(momentum=0.9, name="bn")
    norm.build((None, 6, 6, 3))
    block = tf.recompute_grad(lambda x: norm(x, training=True))
    with record(norm, path, keep="all"):
        for seed in range(3):
            x = tf.Variable(images(seed))
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(block(x) ** 2)
            tape.gradient(loss, x)
    # Each pass is a step of its own here, with the batch of the one before.
    assert len(list(trace.open(path))) == 6
    assert verdicts(path) == {"bn": ("finding", ["double-update"])}
    (result,) = diagnose(path)
    assert "as recomputation and a second call do" in result.explanation


@pytest.mark.parametrize(("momentum", "steps", "causes"), [(0.9, 4, []), (0.99, 250, ["half-precision"])])
def test_statistics_in_bfloat16(path, momentum, steps, causes):
    """The policy "bfloat16" keeps the variables in bfloat16 too, unlike "mixed_bfloat16"."""
    keras.mixed_precision.set_global_policy("bfloat16")
    norm = LAYERS.BatchNormalization(momentum=momentum, name="bn")
    norm.build((None, 6, 6, 3))
    with record(norm, path, keep="moments"):
        for seed in range(steps):
            norm(images(seed), training=True)
    assert trace.open(path).layers["bn"].dtype == "bfloat16"
    assert first_causes(path) == {"bn": causes}


class Schedule(keras.callbacks.Callback):
    """Makes the momentum of a layer smaller from epoch to epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.get_layer("bn1").momentum = 0.9 - 0.2 * epoch


@pytest.mark.parametrize("eager", [True, False])
def test_a_momentum_that_is_changed_after_tracing_has_no_effect(path, eager):
    model = small()
    model.compile("sgd", "mse", run_eagerly=eager)
    x = images(batch=16)
    callbacks = [Schedule(), Recorder(path)]
    model.fit(x, np.zeros((16, 4, 4, 2)), batch_size=8, epochs=2, verbose=0, callbacks=callbacks)
    # Eagerly it is the layer's of each step, and the layer is right.
    assert verdicts(path)["bn1"] == (("ok", []) if eager else ("finding", ["decay"]))


def test_a_layer_that_was_frozen_after_compile_is_not_recorded_as_frozen(path):
    model, x, y = small(), images(), np.zeros((8, 4, 4, 2))
    model.compile("sgd", "mse")
    model.fit(x, y, verbose=0)
    layer = model.get_layer("bn1")
    layer.trainable = False
    before = layer.moving_mean.numpy()
    model.fit(x, y, verbose=0)
    assert (layer.moving_mean.numpy() != before).all()
    with pytest.raises(ValueError, match=r"`trainable` of bn1 was set to False after `model\.compile`"):
        model.fit(x, y, verbose=0, callbacks=[Recorder(path, overwrite=True)])
    model.compile("sgd", "mse")
    model.fit(x, y, verbose=0, callbacks=[Recorder(path, overwrite=True)])
    assert verdicts(path)["bn1"][0] == "ok"


def test_a_layer_may_be_frozen_at_any_time_in_an_eager_run(path):
    model, x, y = small(), images(), np.zeros((8, 4, 4, 2))
    model.compile("sgd", "mse", run_eagerly=True)
    model.fit(x, y, verbose=0)
    model.get_layer("bn1").trainable = False
    model.fit(x, y, verbose=0, callbacks=[Recorder(path)])
    assert verdicts(path)["bn1"] == ("ok", [])


def test_a_loop_of_ones_own_is_warned_of_layers_frozen_after_compile(path):
    model = small()
    model.compile("sgd", "mse")
    model.fit(images(), np.zeros((8, 4, 4, 2)), verbose=0)
    model.get_layer("bn2").trainable = False
    with pytest.warns(UserWarning, match="`trainable` of bn2 was set to False"), record(model, path):
        model(images(), training=True)
    assert verdicts(path)["bn2"] == ("ok", [])


@pytest.mark.parametrize("setting", [{"virtual_batch_size": 4}, {"axis": [1, 2]}])
def test_layers_of_tf_keras_that_a_trace_cannot_hold_are_listed(path, setting):
    old = pytest.importorskip("tf_keras")
    layers = [old.layers.BatchNormalization(name="bn", **setting), old.layers.Flatten(), old.layers.Dense(1)]
    model = old.Sequential([old.layers.Input((6, 6, 3), batch_size=8), *layers])
    model.compile("sgd", "mse")
    model.fit(images(), np.zeros((8, 1)), batch_size=8, verbose=0, callbacks=[Recorder(path)])
    assert trace.open(path).layers["bn"].unrecordable is not None
