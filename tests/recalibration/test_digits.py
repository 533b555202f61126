"""A network whose moving statistics were never updated: from chance to its trained accuracy, by recalibration alone."""

import numpy as np
import pytest

import tf1bn

pytestmark = pytest.mark.slow
datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn, whose digits are the data, is not installed")

TRAINED = 1400  # of 1797 images of 8x8
BATCH, EPOCHS, CHANNELS = 70, 6, (8, 16)
CHANCE = 0.15  # ten classes give 0.1


def digits():
    """Images and labels, of training and for tests."""
    images, labels = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    # Faint ink on bright paper, and not standardized.
    images = 255 - 4 * images[order].reshape(-1, 8, 8, 1).astype(np.float32)
    labels = labels[order].astype(np.int64)
    return (images[:TRAINED], labels[:TRAINED]), (images[TRAINED:], labels[TRAINED:])


def epochs(images, labels):
    """The batches of all epochs of training."""
    rng = np.random.default_rng(1)
    for _ in range(EPOCHS):
        order = rng.permutation(len(images)).reshape(-1, BATCH)
        yield from ((images[rows], labels[rows]) for rows in order)


def assert_repaired(before, after, trained):
    """Accuracies: with the statistics of the start, with new ones, and with those of the batch."""
    assert before <= CHANCE
    assert trained >= 0.9
    assert after >= trained - 0.01


@pytest.mark.parametrize("order", ["batch", "sequential"])
def test_a_session(order):
    import tensorflow.compat.v1 as tf

    (images, labels), (test_images, test_labels) = digits()
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(0)
        x, y = tf.placeholder(tf.float32, [None, 8, 8, 1]), tf.placeholder(tf.int64, [None])
        training = tf.placeholder(tf.bool, [])
        net = x
        for i, channels in enumerate(CHANNELS):
            kernel = tf.get_variable(f"kernel{i}", [3, 3, net.shape[-1], channels])
            net = tf.nn.conv2d(net, kernel, 2, "SAME")
            net = tf1bn.batch_norm(net, scale=True, is_training=training, activation_fn=tf.nn.relu, scope=f"bn{i}")
        weights = tf.get_variable("weights", [2 * 2 * CHANNELS[-1], 10])
        logits = tf.matmul(tf.reshape(net, [-1, weights.shape[0]]), weights)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
        # As in many a script, nothing runs the operations of tf.GraphKeys.UPDATE_OPS.
        train = tf.train.AdamOptimizer(0.01).minimize(loss)
        right = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, 1), y), tf.float32))
        session.run(tf.global_variables_initializer())
        for batch, classes in epochs(images, labels):
            session.run(train, {x: batch, y: classes, training: True})

        def accuracy(flag=False):
            return session.run(right, {x: test_images, y: test_labels, training: flag})

        before, trained = accuracy(), accuracy(True)
        tf1bn.recalibrate(
            session,
            [{x: batch, training: order == "batch"} for batch in np.split(images, len(images) // BATCH)],
            order=order,
        )
        assert_repaired(before, accuracy(), trained)


@pytest.mark.parametrize("order", ["batch", "sequential"])
def test_a_keras_model(order):
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    (images, labels), (test_images, test_labels) = digits()
    keras.utils.set_random_seed(0)
    layers = [keras.Input((8, 8, 1))]
    for channels in CHANNELS:
        # Of momentum 1 the statistics stay as they are.
        layers += [keras.layers.Conv2D(channels, 3, 2, "same"), keras.layers.BatchNormalization(momentum=1.0)]
        layers.append(keras.layers.ReLU())
    model = keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(10)])
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for batch, classes in epochs(images, labels):
        model.train_on_batch(batch, classes)

    def accuracy(flag=False):
        return np.mean(np.argmax(np.asarray(model(test_images, training=flag)), 1) == test_labels)

    before, trained = accuracy(), accuracy(True)
    tf1bn.recalibrate(model, np.split(images, len(images) // BATCH), order=order)
    assert_repaired(before, accuracy(), trained)


@pytest.mark.parametrize("order", ["batch", "sequential"])
def test_a_pytorch_module(order):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    (images, labels), (test_images, test_labels) = (
        (torch.tensor(np.moveaxis(x, -1, 1).copy()), torch.tensor(y)) for x, y in digits()
    )
    torch.manual_seed(0)
    layers, given = [], 1
    for channels in CHANNELS:
        # Of momentum 0 the statistics stay as they are.
        layers += [torch.nn.Conv2d(given, channels, 3, 2, 1), torch.nn.BatchNorm2d(channels, momentum=0.0)]
        layers.append(torch.nn.ReLU())
        given = channels
    model = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(4 * given, 10))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for batch, classes in epochs(images, labels):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(batch), classes).backward()
        optimizer.step()

    @torch.no_grad()
    def accuracy(flag=False):
        return (model.train(flag)(test_images).argmax(1) == test_labels).double().mean().item()

    before, trained = accuracy(), accuracy(True)
    tf1bn.recalibrate(model, images.split(BATCH), order=order)
    assert_repaired(before, accuracy(), trained)
