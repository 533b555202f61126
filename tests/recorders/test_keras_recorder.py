"""Recording Keras models: the callback and loops of one's own, every form of model, and what an audit says of it."""

import os
import subprocess
import sys

import numpy as np
import pytest
import resnet
from recorded import verdicts

from tf1bn import trace
from tf1bn.parity.traces.compare import compare_traces

keras = pytest.importorskip("keras", reason="Keras is not installed")
from tf1bn.recorders.keras import Recorder, record  # noqa: E402

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="Keras runs on another backend")
LAYERS = keras.layers


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.trace"


@pytest.fixture(autouse=True)
def _policy():
    keras.utils.set_random_seed(0)
    yield
    keras.mixed_precision.set_global_policy("float32")


def assert_all_ok(path, layers):
    found = verdicts(path)
    assert sorted(found) == sorted(layers)
    assert set(map(str, found.values())) == {"('ok', [])"}


def images(seed=0, batch=8, shape=(6, 6, 3)):
    return np.random.default_rng(seed).normal(2, 1.5, (batch, *shape)).astype(np.float32)


def fit(model, recorder, batches=5, eager=False, shape=(6, 6, 3), **more):
    x = images(1, 8 * batches, shape)
    model.compile("sgd", "mse", run_eagerly=eager)
    y = np.random.default_rng(2).normal(size=(len(x), *model.compute_output_shape((1, *shape))[1:])).astype(np.float32)
    model.fit(x, y, batch_size=8, verbose=0, shuffle=False, callbacks=[recorder], **more)
    return x, y


def plain(norm=None):
    """Two convolutions, each with a batch norm."""
    return keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            LAYERS.Conv2D(4, 3),
            norm or LAYERS.BatchNormalization(momentum=0.9, name="bn1"),
            LAYERS.ReLU(),
            LAYERS.Conv2D(2, 1),
            LAYERS.BatchNormalization(momentum=0.8, name="bn2"),
            LAYERS.GlobalAveragePooling2D(),
        ]
    )


def test_a_loop_of_ones_own(path):
    model = plain()
    with record(model, path, keep="all") as recorder:
        for seed in range(3):
            model(images(seed), training=True)
        output = model(images(3))
        bn2 = model.get_layer("bn2")
        probe = keras.Model(model.inputs[0], bn2.output)
    assert_all_ok(path, ["bn1", "bn2"])
    assert (recorder.steps, recorder.layers) == (4, 2)
    opened = trace.open(path)
    assert (opened.framework, opened.framework_version) == ("Keras", keras.__version__)
    assert [step.training for step in opened] == [True, True, True, False]
    last = list(opened)[-1].layers["bn2"]
    assert (last.layer.decay, last.layer.epsilon, last.layer.fused) == (0.8, 1e-3, False)
    np.testing.assert_array_equal(last.moving_mean_after, np.asarray(bn2.moving_mean))
    np.testing.assert_allclose(last.outputs[0], np.asarray(probe(images(3))), rtol=1e-6)
    assert last.outputs[0].mean(axis=(1, 2)) == pytest.approx(np.asarray(output), rel=1e-5)
    # The model is as it was.
    assert "call" not in vars(bn2)
    assert "call" not in vars(model)


@pytest.mark.slow
@pytest.mark.parametrize("eager", [False, True])
def test_fit_of_the_small_resnet(path, eager):
    model = resnet.keras_net(keras)
    recorder = Recorder(path)
    shape = resnet.SHAPE[1:]
    validation = images(5, 8, shape), images(6, 8, (6,))
    x, y = fit(model, recorder, eager=eager, shape=shape, validation_data=validation)
    assert_all_ok(path, [name.replace("/", "_") for name in resnet.NORMS])
    assert [step.training for step in trace.open(path)] == [True] * 5 + [False]
    # The model trains on, without the recorder.
    model.fit(x, y, batch_size=8, verbose=0)
    assert len(list(trace.open(path))) == 6
    with pytest.raises(ValueError, match="has ended; make another with a path of its own"):
        model.fit(x, y, batch_size=8, verbose=0, callbacks=[recorder])


@pytest.mark.slow
def test_recording_changes_no_bit(path):
    results = []
    for recorder in (keras.callbacks.Callback(), Recorder(path, keep="all")):
        keras.utils.set_random_seed(0)
        model = plain()
        fit(model, recorder)
        results.append([value.tobytes() for value in model.get_weights()])
    assert results[0] == results[1]


class Subclassed(keras.Model):
    """Makes its layers in `build`, and holds one of them in a block that is no model."""

    def __init__(self):
        super().__init__()
        self.block = Block(name="block")

    def build(self, shape):
        self.last = LAYERS.BatchNormalization(momentum=0.7, name="last")
        self.built = True

    def call(self, x, training=None):
        return self.last(self.block(x, training=training), training=training)


class Block(LAYERS.Layer):
    def __init__(self, **more):
        super().__init__(**more)
        self.convolution, self.norm = LAYERS.Conv2D(4, 3), LAYERS.BatchNormalization(momentum=0.9, name="inner")

    def call(self, x, training=None):
        return self.norm(self.convolution(x), training=training)


def functional():
    """Nested models, and a layer that is applied twice."""
    inputs = keras.Input((6, 6, 3))
    nested = keras.Sequential([LAYERS.Conv2D(3, 1), LAYERS.BatchNormalization(name="nested")], name="part")
    return keras.Model(inputs, nested(nested(inputs)))


@pytest.mark.parametrize("eager", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_subclassed_models(path, eager):
    import tensorflow as tf

    model = Subclassed()
    with record(model, path) as recorder:
        call = model if eager else tf.function(model)
        for seed in range(4):
            call(images(seed), training=True)
    assert recorder.layers == 2
    assert_all_ok(path, ["inner", "last"])
    assert [list(step.layers) for step in trace.open(path)] == [["inner", "last"]] * 4


def test_a_layer_applied_twice_keeps_both_applications(path):
    model = functional()
    with record(model, path):
        for seed in range(4):
            model(images(seed), training=True)
    assert [step.layers["nested"].applications for step in trace.open(path)] == [2] * 4
    assert verdicts(path) == {"nested": ("finding", ["double-update"])}


@pytest.mark.parametrize("keep", ["all", "moments"])
def test_masked_positions_count_for_nothing(path, keep):
    inputs = keras.Input((10, 3))
    norm = LAYERS.BatchNormalization(momentum=0.9, name="bn")
    model = keras.Model(inputs, norm(LAYERS.Masking(0.0)(inputs)))
    batches = [np.random.default_rng(seed).uniform(1, 4, (6, 10, 3)).astype(np.float32) for seed in range(4)]
    for batch in batches:
        for i in range(6):
            batch[i, 3 + i :] = 0
    with record(model, path, keep=keep):
        for batch in batches:
            model(batch, training=True)
    assert_all_ok(path, ["bn"])
    entry = next(iter(trace.open(path))).layers["bn"]
    real = (batches[0] != 0).any(axis=-1)
    exact = 0.1 * batches[0][real].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(entry.moving_mean_after, exact, rtol=1e-5)
    if keep == "all":
        assert entry.inputs[0].shape == (60, 3)
        np.testing.assert_array_equal(entry.weights[0], real.reshape(-1))
    else:
        assert entry.moments[0].count == real.sum()


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_every_axis(path, axis):
    layer = LAYERS.BatchNormalization(axis=axis, momentum=0.9, name="bn")
    with record(layer, path):
        for seed in range(3):
            layer(images(seed, shape=(3, 4, 5)), training=True)
    assert_all_ok(path, ["bn"])
    assert trace.open(path).layers["bn"].channel_axis % 4 == axis


def test_a_layer_that_is_frozen_on_purpose(path):
    model = plain()
    model.get_layer("bn1").trainable = False
    with record(model, path):
        for seed in range(3):
            model(images(seed), training=True)
    assert_all_ok(path, ["bn1", "bn2"])
    opened = trace.open(path)
    assert not opened.layers["bn1"].trainable
    for step in opened:
        assert (step.training, step.layers["bn1"].training, step.layers["bn2"].training) == (True, (False,), (True,))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(path, policy):
    keras.mixed_precision.set_global_policy(policy)
    model = plain()
    with record(model, path, keep="all"):
        for seed in range(4):
            model(images(seed), training=True)
    assert_all_ok(path, ["bn1", "bn2"])
    entry = next(iter(trace.open(path))).layers["bn1"]
    name = policy.removeprefix("mixed_")
    assert (entry.inputs_dtype, entry.outputs_dtype, entry.layer.dtype) == (name, name, "float32")


def test_renorm_is_listed_with_the_reason(path):
    try:
        layer = LAYERS.BatchNormalization(renorm=True, name="bn")
    except (TypeError, ValueError):
        pytest.skip("this Keras has no renorm")
    with record(layer, path):
        layer(images(), training=True)
    assert "renormalisation" in trace.open(path).layers["bn"].unrecordable


@pytest.mark.slow
@pytest.mark.parametrize(("execution", "numbers"), [(1, [0, 3]), (5, [0, 3])])
def test_every_third_step(path, execution, numbers):
    model = plain()
    x = images(1, 40)
    model.compile("sgd", "mse", steps_per_execution=execution)
    model.fit(x, np.zeros((40, 2)), batch_size=8, verbose=0, callbacks=[Recorder(path, every=3, layers="bn?")])
    assert [step.number for step in trace.open(path)] == numbers
    assert [step.left_out for step in trace.open(path)] == [0, 2]
    assert_all_ok(path, ["bn1", "bn2"])


# Faults, as they are made in Keras.


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"momentum": 0.1}, "momentum-flipped"),
        ({"epsilon": 1e-5}, "epsilon"),
        ({"scale": False}, "missing-variable"),
        ({"trainable": False}, "trainable-false"),
    ],
)
def test_two_traces_are_compared(tmp_path, change, cause):
    given = {"momentum": 0.9, "epsilon": 1e-3, "gamma_initializer": keras.initializers.Constant(1.3)}
    for name, arguments in (("old", given), ("new", {**given, **change})):
        keras.utils.set_random_seed(0)
        model = plain(LAYERS.BatchNormalization(name="bn1", **arguments))
        with record(model, tmp_path / name, keep="all"):
            for trains, seed in ((True, 0), (True, 1), (False, 2)):
                model(images(seed), training=trains)
    result = compare_traces(trace.open(tmp_path / "old"), trace.open(tmp_path / "new"))
    wrong = [layer for layer in result["layers"] if layer.get("first")]
    assert [(layer["old"], layer["causes"][0]["id"]) for layer in wrong] == [("bn1", cause)]


def test_a_decay_of_one(path):
    model = plain(LAYERS.BatchNormalization(momentum=1.0, name="bn1"))
    with record(model, path):
        for seed in range(3):
            model(images(seed), training=True)
    assert verdicts(path) == {"bn1": ("finding", ["frozen"]), "bn2": ("ok", [])}


# Bad input.


def test_refusals(path):
    with pytest.raises(TypeError, match=r"^`model` is of type int; it must be a Keras model or layer.$"):
        record(3, path)
    with pytest.raises(ValueError, match="without a BatchNormalization layer"):
        record(keras.Sequential([keras.Input((2,)), LAYERS.Dense(2)]), path)
    model = plain()
    with pytest.raises(ValueError, match=r"^`layers` fits no layer of the model; it has bn1, bn2.$"):
        record(model, path, layers="batch*")
    assert not path.exists()
    with record(model, path):
        with pytest.raises(ValueError, match="is being recorded already"):
            record(model, path.with_name("other"))
    with pytest.raises(FileExistsError, match="where a trace is"):
        record(model, path)
    with pytest.raises(ValueError, match=r"^`every` is 0; it must be a whole number, 1 or more.$"):
        Recorder(path, every=0)


def test_several_replicas_are_refused(tmp_path):
    class MirroredStrategy:
        num_replicas_in_sync = 2

    model = plain()
    model._distribute_strategy = MirroredStrategy()
    with pytest.raises(
        ValueError,
        match=r"^`model` runs in 2 replicas of a MirroredStrategy, each with moving statistics of its own, which this "
        r"recorder does not record; make the model outside of the strategy's scope, and record a run on one device "
        r"with the batches that one replica gets\.$",
    ):
        record(model, tmp_path / "run.trace")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_training_that_fails_leaves_a_whole_trace(path):
    model = plain()
    recorder = Recorder(path)

    class Fails(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                raise RuntimeError("no")

    model.compile("sgd", "mse")
    with pytest.raises(RuntimeError, match="no"):
        model.fit(images(1, 40), np.zeros((40, 2)), batch_size=8, verbose=0, callbacks=[recorder, Fails()])
    recorder.close()
    assert "call" not in vars(model)
    assert [step.number for step in trace.open(path)] == [0, 1, 2]
    assert_all_ok(path, ["bn1", "bn2"])


PROGRAM = """
import sys
import numpy as np
{imports}
from tf1bn.recorders.keras import Recorder
layers = keras.layers
norm = layers.BatchNormalization(momentum=0.9, name="bn")
model = keras.Sequential([keras.Input((6, 6, 3)), layers.Conv2D(4, 3), norm, layers.GlobalAveragePooling2D()])
x = np.random.default_rng(0).normal(2, 1.5, (40, 6, 6, 3)).astype(np.float32)
for eager in (False, True):
    model.compile("sgd", "mse", run_eagerly=eager)
    model.fit(x, x[:, 0, 0, :1] * np.ones(4), batch_size=8, verbose=0, validation_data=(x[:8], np.zeros((8, 4))),
              callbacks=[Recorder(f"{{sys.argv[1]}}/{{eager}}.trace")])
assert {alone}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "imports", "alone"),
    [
        ("torch", "import keras", "'tensorflow' not in sys.modules"),
        ("jax", "import keras", "'tensorflow' not in sys.modules and 'torch' not in sys.modules"),
        ("tensorflow", "import tf_keras as keras", "'torch' not in sys.modules"),
    ],
    ids=["torch", "jax", "tf_keras"],
)
def test_other_backends(tmp_path, backend, imports, alone):
    pytest.importorskip({"jax": "jax", "torch": "torch", "tensorflow": "tf_keras"}[backend])
    code = PROGRAM.format(imports=imports, alone=alone)
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    for eager in (False, True):
        path = tmp_path / f"{eager}.trace"
        assert [step.training for step in trace.open(path)] == [True] * 5 + [False]
        assert_all_ok(path, ["bn"])


FAR = """
import sys
import numpy as np
import keras
from tf1bn.recorders.keras import record
for ratio in (4, 30, 1000):
    for seed in range(15):
        rng = np.random.default_rng([ratio, seed])
        model = keras.Sequential([keras.Input((6,)), keras.layers.BatchNormalization(momentum=0.9, name="bn")])
        with record(model, f"{sys.argv[1]}/{ratio}-{seed}.trace"):
            for _ in range(4):
                model(rng.normal(ratio, 1, (int(rng.choice([8, 100, 700])), 6)).astype(np.float32), training=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "jax", "tensorflow"])
def test_means_that_are_large_against_the_deviation(tmp_path, backend):
    """How a backend computes the variance is tried out, and is what the bound allows for."""
    pytest.importorskip(backend)
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run(
        [sys.executable, "-c", FAR, str(tmp_path)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    paths = sorted(tmp_path.glob("*.trace"))
    assert len(paths) == 45
    # PyTorch's functions of Keras subtract squares; TensorFlow's do not, and JAX' did up to Keras 3.10 or so.
    ways = {trace.open(path).layers["bn"].variance_from for path in paths}
    assert ways == {"torch": {"squares"}, "tensorflow": {"deviations"}}.get(backend, ways)
    for path in paths:
        assert (path.name, verdicts(path)) == (path.name, {"bn": ("ok", [])})
