# coding: utf-8
# Runs on Python 2.7 and 3.7 too:
# ruff: noqa: UP009, UP010, B905
"""One small residual network with six batch-norm layers, written three times: in TF 1 style, in Keras 3, in PyTorch.

    tf1(...)      for tf.contrib.layers.batch_norm of the real TF 1.x and for tf1bn.batch_norm
    keras_net()   a `keras.Model`
    torch_net()   a `torch.nn.Module`

Weights, gamma, beta and batches are the same in all three. `keras_port` and `torch_port` make of the latter two what
`tf1bn.testing.assert_parity` takes. Imports no framework by itself.
"""

from __future__ import division, print_function

import collections

import numpy as np

DECAY, EPSILON = 0.9, 1e-3
STEPS = (True, True, False)  # whether each trains
SHAPE = (3, 4, 4, 3)
NORMS = collections.OrderedDict(
    [("stem/bn", 4), ("block1/bn1", 4), ("block1/bn2", 4), ("block2/bn1", 6), ("block2/bn2", 6), ("block2/short", 6)]
)
CONVOLUTIONS = collections.OrderedDict(
    [
        ("stem/conv", (3, 3, 3, 4)),
        ("block1/conv1", (3, 3, 4, 4)),
        ("block1/conv2", (3, 3, 4, 4)),
        ("block2/conv1", (3, 3, 4, 6)),
        ("block2/conv2", (3, 3, 6, 6)),
        ("block2/conv0", (1, 1, 4, 6)),
    ]
)


def weights():
    """All parameters by name, float32; kernels are [height, width, in, out]."""
    rng = np.random.RandomState(7)
    found = collections.OrderedDict()
    for name, shape in CONVOLUTIONS.items():
        found[name] = (rng.normal(0, 1, shape) / np.sqrt(np.prod(shape[:3]))).astype(np.float32)
    for name, channels in NORMS.items():
        found[name + "/gamma"] = rng.uniform(0.5, 1.5, channels).astype(np.float32)
        found[name + "/beta"] = rng.normal(0, 0.3, channels).astype(np.float32)
    return found


def batches():
    return [np.random.RandomState(100 + i).normal(0.5, 1, SHAPE).astype(np.float32) for i in range(len(STEPS))]


def forward(x, convolution, norm, relu, mean):
    """The network in terms of a framework's operations; ``convolution`` and ``norm`` take a name and an input."""
    x = relu(norm("stem/bn", convolution("stem/conv", x)))
    y = relu(norm("block1/bn1", convolution("block1/conv1", x)))
    x = relu(norm("block1/bn2", convolution("block1/conv2", y)) + x)
    y = relu(norm("block2/bn1", convolution("block2/conv1", x)))
    y = norm("block2/bn2", convolution("block2/conv2", y))
    x = relu(y + norm("block2/short", convolution("block2/conv0", x)))
    return mean(x)


def tf1(tf, batch_norm, x, is_training, **arguments):
    """The network in TF 1 style; ``tf`` is TensorFlow 1.x or tensorflow.compat.v1."""
    values = weights()

    def constant(name):
        return tf.constant_initializer(values[name])

    def convolution(name, x):
        kernel = tf.get_variable(name, CONVOLUTIONS[name], initializer=constant(name))
        return tf.nn.conv2d(x, kernel, strides=[1, 1, 1, 1], padding="SAME")

    def norm(name, x):
        initializers = {"gamma": constant(name + "/gamma"), "beta": constant(name + "/beta")}
        return batch_norm(
            x,
            decay=DECAY,
            epsilon=EPSILON,
            scale=True,
            is_training=is_training,
            scope=name,
            param_initializers=initializers,
            **arguments,
        )

    return forward(x, convolution, norm, tf.nn.relu, lambda x: tf.reduce_mean(x, [1, 2]))


# Faults: what a port may have wrong in "block1/bn2", or the whole of it.
FAULTS = ("epsilon", "momentum", "missing updates", "gamma", "axis", "renamed", "swapped")


def keras_net(keras, fault=None, at="block1/bn2"):
    """The network as a functional `keras.Model`, with the weights set; ``fault`` is one of FAULTS."""
    values = weights()
    norms = {}

    def convolution(name, x):
        kernel = values[name]
        layer = keras.layers.Conv2D(
            kernel.shape[3], kernel.shape[:2], padding="same", use_bias=False, name=name.replace("/", "_")
        )
        y = layer(x)
        layer.set_weights([kernel])
        return y

    def norm(name, x):
        there = fault if name == at else None
        own = _swapped(name) if fault == "swapped" else name
        norms[name] = layer = keras.layers.BatchNormalization(
            axis=1 if there == "axis" else -1,
            momentum=1 - DECAY if there == "momentum" else DECAY,
            epsilon=1e-5 if there == "epsilon" else EPSILON,
            scale=there != "gamma",
            name="renamed" if there == "renamed" else own.replace("/", "_"),
        )
        y = layer(x)
        if there == "axis":
            return y
        layer.set_weights([*([values[own + "/gamma"]] if there != "gamma" else []), values[own + "/beta"],
                           layer.moving_mean.numpy(), layer.moving_variance.numpy()])  # fmt: skip
        if there == "missing updates":
            layer.trainable = False
        return y

    inputs = keras.Input(SHAPE[1:])
    output = forward(inputs, convolution, norm, keras.ops.relu, lambda x: keras.ops.mean(x, axis=(1, 2)))
    return keras.Model(inputs, output)


def _swapped(name):
    return {"block1/bn1": "block1/bn2", "block1/bn2": "block1/bn1"}.get(name, name)


def keras_port(keras, model):
    """What `tf1bn.testing.assert_parity` takes, of a functional Keras model."""
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    probe = keras.Model(
        model.inputs[0], [model.outputs[0], [norm.input for norm in norms], [norm.output for norm in norms]]
    )

    def numpy(tensor):
        return None if tensor is None else tensor.numpy()

    def port(batch, training):
        output, inputs, outputs = probe(batch, training=training)
        state = {}
        for norm, x, y in zip(norms, inputs, outputs):
            state[norm.name] = {"inputs": numpy(x), "outputs": numpy(y)}
            for name in ("gamma", "beta", "moving_mean", "moving_variance"):
                state[norm.name][name] = numpy(getattr(norm, name))
        return numpy(output), state

    return port


def torch_net(torch, fault=None, at="block1/bn2"):
    """The network as a `torch.nn.Module` whose batch-norm layers are named like "block1.bn2"."""
    values = weights()

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, shape in CONVOLUTIONS.items():
                layer = torch.nn.Conv2d(shape[2], shape[3], shape[:2], padding="same", bias=False)
                layer.weight.data = torch.tensor(values[name].transpose(3, 2, 0, 1).copy())
                self.add(name, layer)
            for name, channels in NORMS.items():
                there = fault if name == at else None
                own = _swapped(name) if fault == "swapped" else name
                layer = torch.nn.BatchNorm2d(
                    channels,
                    eps=1e-5 if there == "epsilon" else EPSILON,
                    momentum={"momentum": DECAY, "missing updates": 0.0}.get(there, 1 - DECAY),
                    affine=there != "gamma",
                )
                if there != "gamma":
                    layer.weight.data = torch.tensor(values[own + "/gamma"])
                    layer.bias.data = torch.tensor(values[own + "/beta"])
                self.add("renamed" if there == "renamed" else own, layer)
            self.names = {name: _swapped(name) if fault == "swapped" else name for name in NORMS}
            if fault == "renamed":
                self.names[at] = "renamed"

        def add(self, name, layer):
            *above, last = name.split("/")
            parent = self
            for part in above:
                if not hasattr(parent, part):
                    parent.add_module(part, torch.nn.Module())
                parent = getattr(parent, part)
            parent.add_module(last, layer)

        def get(self, name):
            return self.get_submodule(name.replace("/", "."))

        def forward(self, x):
            return forward(
                x,
                lambda name, x: self.get(name)(x),
                lambda name, x: self.get(self.names[name])(x),
                torch.relu,
                lambda x: x.mean(dim=(2, 3)),
            )

    return Net()


def torch_port(torch, model):
    """What `tf1bn.testing.assert_parity` takes, of a PyTorch model that takes channels first."""
    norms = {name: layer for name, layer in model.named_modules() if isinstance(layer, torch.nn.BatchNorm2d)}
    seen = {}

    def numpy(tensor):
        return None if tensor is None else tensor.detach().cpu().numpy().copy()

    def hook(name):
        def keep(layer, inputs, output):
            seen[name] = {"inputs": numpy(inputs[0]), "outputs": numpy(output)}

        return keep

    for name, layer in norms.items():
        layer.register_forward_hook(hook(name))

    def port(batch, training):
        seen.clear()
        model.train(training)
        output = model(torch.tensor(batch.transpose(0, 3, 1, 2).copy()))
        for name, state in seen.items():
            layer = norms[name]
            state.update(gamma=numpy(layer.weight), beta=numpy(layer.bias))
            state.update(moving_mean=numpy(layer.running_mean), moving_variance=numpy(layer.running_var))
        return numpy(output), seen

    return port
