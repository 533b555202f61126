"""Keras models, recalibrated."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tf1bn.recalibration import recalibrate

keras = pytest.importorskip("keras", reason="Keras is not installed")
pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="Keras runs on another backend")
layers = keras.layers


def data(count=3, batch=6):
    rng = np.random.default_rng(0)
    return [rng.normal(1, 2, (batch + i, 6, 6, 3)).astype(np.float32) for i in range(count)]


def model(**second):
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3)(x)
    x = layers.BatchNormalization(name="bn1")(x)
    x = layers.Dropout(0.5)(layers.ReLU()(x))
    return keras.Model(inputs, layers.BatchNormalization(name="bn2", **second)(x))


def before(net, name, x, **options):
    """What layer ``name`` is given."""
    layer = net.get_layer(name)
    return keras.Model(net.input, layer.input)(x, **options).numpy()


def assert_holds(net, name, values):
    flat = np.concatenate([v.reshape(-1, v.shape[-1]) for v in values]).astype(np.float64)
    layer = net.get_layer(name)
    np.testing.assert_allclose(layer.moving_mean.numpy(), flat.mean(axis=0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(layer.moving_variance.numpy(), flat.var(axis=0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("order", ["batch", "sequential"])
@pytest.mark.parametrize("trainable", [True, False])
def test_the_statistics_are_those_of_the_data(order, trainable):
    net, batches = model(trainable=trainable), data()
    report = recalibrate(net, batches, order=order)
    assert [layer.name for layer in report.layers] == ["bn1", "bn2"]
    assert_holds(net, "bn1", [before(net, "bn1", x, training=False) for x in batches])
    if order == "sequential":
        assert_holds(net, "bn2", [before(net, "bn2", x, training=False) for x in batches])
    else:
        relu = [np.maximum(normalised(net.get_layer("bn1"), before(net, "bn1", x)), 0) for x in batches]
        assert_holds(net, "bn2", relu)
    assert net.get_layer("bn2").trainable is trainable
    assert "call" not in vars(net.get_layer("bn1"))


def normalised(layer, x):
    """Normalised by the batch, in float64, with gamma 1 and beta 0."""
    x = x.astype(np.float64)
    return (x - x.mean(axis=(0, 1, 2))) / np.sqrt(x.var(axis=(0, 1, 2)) + layer.epsilon)


def test_a_dry_run_and_a_failed_one_leave_everything():
    net = model()
    weights = net.get_weights()
    recalibrate(net, data(), write=False)
    bad = data()
    bad[1][0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="The inputs of layer 'bn1' in batch 1 hold NaN"):
        recalibrate(net, bad)
    for value, expected in zip(net.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(value, expected)
    assert "call" not in vars(net.get_layer("bn1"))


def test_masked_positions_do_not_count():
    net = keras.Sequential([layers.Input((5, 2)), layers.Masking(0.0), layers.BatchNormalization()])
    x = np.random.default_rng(0).normal(3, 1, (4, 5, 2)).astype(np.float32)
    x[1, 2:] = 0
    x[3, 4:] = 0
    report = recalibrate(net, [x])
    kept = x[(x != 0).all(axis=-1)]
    assert report.layers[0].count == len(kept) == 16
    np.testing.assert_allclose(net.layers[-1].moving_mean.numpy(), kept.mean(axis=0), rtol=1e-6)


def test_channels_in_another_axis():
    net = keras.Sequential([layers.Input((3, 4)), layers.BatchNormalization(axis=1)])
    x = np.random.default_rng(0).normal(3, 1, (5, 3, 4)).astype(np.float32)
    recalibrate(net, [x])
    np.testing.assert_allclose(net.layers[-1].moving_mean.numpy(), x.mean(axis=(0, 2)), rtol=1e-6)


def test_a_model_that_is_not_built():
    net = keras.Sequential([layers.BatchNormalization()])
    with pytest.raises(ValueError, match="It has no variables before its first input; run the model once"):
        recalibrate(net, data())


def test_a_call_that_is_compiled():
    import tensorflow as tf

    net = model()
    with pytest.raises(TypeError, match="`model` runs in a compiled function"):
        recalibrate(net, data(), call=tf.function(lambda net, x: net(x, training=False)))


PROGRAM = """
import numpy as np
import keras
from tf1bn.recalibration import recalibrate

net = keras.Sequential([keras.layers.Input((2,)), keras.layers.BatchNormalization({options}), keras.layers.Dense(1)])
x = np.random.default_rng(0).normal(3, 2, (50, 2)).astype(np.float32)
for order in ("batch", "sequential"):
    recalibrate(net, [x[:20], x[20:]], order=order)
    layer = net.layers[0]
    mean, variance = (np.array(keras.ops.convert_to_numpy(v)) for v in (layer.moving_mean, layer.moving_variance))
    np.testing.assert_allclose(mean, x.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(variance, x.var(axis=0), rtol=1e-5)
"""


@pytest.mark.torch
def test_on_the_backend_of_pytorch():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    program = PROGRAM.format(options="")
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(2,), (3, 3, 2)])
def test_tf_keras_whose_fused_layer_stores_the_unbiased_variance(shape):
    tf_keras = pytest.importorskip("tf_keras", reason="tf_keras is not installed")
    net = tf_keras.Sequential([tf_keras.layers.Input(shape), tf_keras.layers.BatchNormalization()])
    x = np.random.default_rng(0).normal(3, 2, (10, *shape)).astype(np.float32)
    recalibrate(net, [x])
    flat = x.reshape(-1, 2).astype(np.float64)
    layer = net.layers[-1]
    np.testing.assert_allclose(layer.moving_variance.numpy(), flat.var(axis=0, ddof=len(shape) > 1), rtol=1e-6)


def test_a_call_in_training_mode_leaves_the_other_layers():
    net = model()
    held = {v.path: v.numpy() for v in net.variables}
    recalibrate(net, data(), layers="bn1", call=lambda net, batch: net(batch, training=True))
    changed = {v.path for v in net.variables if not np.array_equal(v.numpy(), held[v.path])}
    assert changed == {"bn1/moving_mean", "bn1/moving_variance"}


def test_a_dict_is_the_input_of_a_model_with_named_inputs():
    one, two = keras.Input((3,), name="one"), keras.Input((3,), name="two")
    net = keras.Model({"one": one, "two": two}, layers.BatchNormalization(name="bn")(one + two))
    x = np.random.default_rng(0).normal(1, 2, (8, 3)).astype(np.float32)
    recalibrate(net, [{"one": x, "two": 2 * x}])
    np.testing.assert_allclose(net.get_layer("bn").moving_mean.numpy(), (3 * x).mean(axis=0), rtol=1e-6)


def test_what_others_put_around_a_layer_stays():
    net = model()
    layer = net.get_layer("bn1")
    original = layer.call

    def call(inputs, training=None, mask=None):
        return original(inputs, training=training, mask=mask)

    layer.__dict__["call"] = call
    recalibrate(net, data())
    assert layer.__dict__["call"] is call


def test_the_report_has_the_statistics_of_bfloat16():
    net = keras.Sequential([layers.Input((3,)), layers.BatchNormalization(dtype="bfloat16")])
    report = recalibrate(net, [np.random.default_rng(0).normal(1, 2, (8, 3)).astype(np.float32)])
    assert report.layers[0].new_mean.tolist() == net.layers[0].moving_mean.numpy().astype(np.float32).tolist()
