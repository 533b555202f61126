"""Recalibration over bags of Dask: the statistics and the report of a list of the same batches, bit by bit."""

import numpy as np
import pytest

from tf1bn.errors import RecalibrationError
from tf1bn.recalibration import recalibrate

pytestmark = pytest.mark.slow
dask = pytest.importorskip("dask", reason="Dask is not installed")
db = pytest.importorskip("dask.bag", reason="Dask is not installed")


def data(count=5):
    rng = np.random.default_rng(0)
    return [rng.normal(1, 2, (6 + i, 3)).astype(np.float32) for i in range(count)]


def module():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.manual_seed(0)
    nn = torch.nn
    return nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 4), nn.ReLU(), nn.BatchNorm1d(4))


def call(model, batch):
    import torch

    return model(torch.from_numpy(batch))


def keras_model():
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((3,)), layers.BatchNormalization(), layers.Dense(4, "relu"), layers.BatchNormalization()]
    )


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_a_module_runs_where_the_batches_are(scheduler):
    expected, model = module(), module()
    report = recalibrate(expected, data(), call=call)
    with dask.config.set(scheduler=scheduler):
        assert recalibrate(model, db.from_sequence(data(), npartitions=3), call=call).to_json() == report.to_json()
    for name, value in model.state_dict().items():
        assert value.numpy().tobytes() == expected.state_dict()[name].numpy().tobytes()
    assert model.training
    assert not model[0]._forward_pre_hooks


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")  # Keras' own
def test_a_keras_model_runs_where_the_batches_are():
    expected, model = keras_model(), keras_model()
    report = recalibrate(expected, data())
    with dask.config.set(scheduler="threads"):
        bag = db.from_sequence(data(), npartitions=2)
        again = recalibrate(model, bag)
    assert [layer.count for layer in again.layers] == [layer.count for layer in report.layers]
    for value, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        assert value.tobytes() == other.tobytes()


def test_in_sequence_the_batches_come_here():
    expected, model = module(), module()
    seen = []

    def watched(model, batch):
        seen.append(len(batch))
        return call(model, batch)

    report = recalibrate(expected, data(), call=call, order="sequential")
    with dask.config.set(scheduler="threads"):
        bag = db.from_sequence(range(5), npartitions=2).map(lambda i: data()[i])
        again = recalibrate(model, bag, call=watched, order="sequential")
    assert again.to_json() == report.to_json()
    assert seen == [6, 7, 8, 9, 10] * 2


def test_a_session_takes_the_batches_of_workers():
    import tensorflow.compat.v1 as tf

    import tf1bn

    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 3], name="x")
        tf1bn.batch_norm(x, is_training=True, scope="bn")
        session.run(tf.global_variables_initializer())
        feeds = [{"x:0": batch} for batch in data()]
        expected = recalibrate(session, feeds, write=False)
        with dask.config.set(scheduler="threads"):
            report = recalibrate(session, db.from_sequence(feeds, npartitions=2), write=False)
    assert report.to_json() == expected.to_json()


def test_nothing_is_changed_by_what_fails_in_a_worker():
    model, batches = module(), data()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batches[3][1, 1] = np.nan
    with dask.config.set(scheduler="threads"):
        with pytest.raises(RecalibrationError, match="layer '0' in batch 3 hold NaN"):
            recalibrate(model, db.from_sequence(batches, npartitions=2), call=call)
        with pytest.raises(ZeroDivisionError):
            recalibrate(model, db.from_sequence(data(), npartitions=2), call=lambda model, batch: 1 / 0)
        with pytest.raises(ValueError, match="`batches` is empty"):
            recalibrate(model, db.from_sequence(data(), npartitions=2).filter(lambda batch: False), call=call)
    for name, value in model.state_dict().items():
        assert value.numpy().tobytes() == before[name].numpy().tobytes()
