"""Batch norms folded into kernels of every kind, in the orders of axes of TensorFlow and of PyTorch."""

import numpy as np
import pytest

from tf1bn.parity.checkpoints.compare import compare_checkpoints
from tf1bn.parity.checkpoints.kernel_layouts import layouts

INPUTS, EPSILON = 6, 1e-3
# By name: the shape of TensorFlow's kernel, the number of output channels, and how many groups of inputs there are;
# "transposed" and "depthwise" say themselves what they are.
KERNELS = {
    "conv1d": ((3, 6, 8), 8, 1),
    "conv1d_grouped": ((3, 3, 8), 8, 2),
    "conv1d_depthwise": ((3, 6, 1), 6, 6),
    "conv1d_depthwise_twice": ((3, 6, 2), 12, 6),
    "conv1d_transposed": ((3, 8, 6), 8, 1),
    "conv2d": ((3, 2, 6, 8), 8, 1),
    "conv2d_grouped": ((3, 3, 3, 8), 8, 2),
    "conv2d_square": ((6, 6, 6, 6), 6, 1),
    "conv2d_depthwise": ((3, 3, 6, 1), 6, 6),
    "conv2d_depthwise_twice": ((3, 3, 6, 2), 12, 6),
    "conv2d_depthwise_six_times": ((6, 6, 6, 6), 36, 6),
    "conv2d_transposed": ((3, 2, 8, 6), 8, 1),
    "conv2d_transposed_square": ((3, 3, 6, 6), 6, 1),
    "conv3d": ((2, 3, 1, 6, 8), 8, 1),
    "conv3d_grouped": ((2, 3, 2, 3, 8), 8, 2),
    "conv3d_transposed": ((2, 3, 2, 8, 6), 8, 1),
    "dense": ((6, 8), 8, 1),
    "dense_square": ((6, 6), 6, 1),
}


def pytorch_kernel(name, kernel):
    """TensorFlow's kernel as PyTorch keeps it, element by element for what is depthwise."""
    window = kernel.shape[:-2]
    if "depthwise" in name:
        new = np.zeros((kernel.shape[-2] * kernel.shape[-1], 1, *window), kernel.dtype)
        for i in range(kernel.shape[-2]):
            for j in range(kernel.shape[-1]):
                new[i * kernel.shape[-1] + j, 0] = kernel[..., i, j]
        return new
    return np.moveaxis(kernel, (-1, -2), (0, 1)).copy()


def kernel_scale(name, scale, kernel):
    """The scales of the output channels as what TensorFlow's kernel is multiplied by."""
    if "depthwise" in name:
        return scale.reshape(kernel.shape[-2:])
    return scale[:, None] if "transposed" in name else scale


def drawn(name):
    """The variables of a layer and of its batch norm, and the folded ones, in TensorFlow's order: two dicts."""
    shape, channels, _ = KERNELS[name]
    random = np.random.default_rng(list(name.encode()))
    variables = {"conv/kernel": random.uniform(-1, 1, shape), "conv/bias": random.uniform(-1, 1, channels)}
    for role in ("gamma", "beta", "moving_mean", "moving_variance"):
        low = 0.2 if role in ("gamma", "moving_variance") else -2
        variables[f"bn/{role}"] = random.uniform(low, 3, channels)
    variables = {key: values.astype("f4") for key, values in variables.items()}
    gamma, beta, mean, variance = (variables[f"bn/{role}"].astype("f8") for role in ("gamma", "beta", *STATISTICS))
    scale = gamma / np.sqrt(variance + EPSILON)
    kernel = variables["conv/kernel"]
    folded = {
        "conv/kernel": kernel * kernel_scale(name, scale, kernel),
        "conv/bias": beta - (mean - variables["conv/bias"]) * scale,
    }
    return variables, {key: values.astype("f4") for key, values in folded.items()}


STATISTICS = ("moving_mean", "moving_variance")


def as_pytorch(name, variables):
    names = {"conv/kernel": "conv.weight", "conv/bias": "conv.bias"}
    return {
        names.get(key, key): pytorch_kernel(name, values) if key == "conv/kernel" else values
        for key, values in variables.items()
    }


@pytest.fixture
def compare(tmp_path):
    def compared(old, new):
        for name, variables in (("old", old), ("new", new)):
            np.savez(tmp_path / f"{name}.npz", **variables)
        return compare_checkpoints(tmp_path / "old.npz", tmp_path / "new.npz", epsilon=EPSILON)

    return compared


def outcome(result):
    (layer,) = result["layers"]
    return layer["verdict"], layer["matched"], [cause["id"] for cause in layer["causes"]]


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_a_kernel_in_either_order(name, compare):
    variables, folded = drawn(name)
    for old in (variables, as_pytorch(name, variables)):
        for new in (folded, as_pytorch(name, folded)):
            assert outcome(compare(old, new)) == ("ok", "folded", ["folded"])
            assert outcome(compare(new, old)) == ("ok", "folded", ["folded"])


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_a_kernel_under_another_name(name, compare):
    variables, folded = drawn(name)
    new = {key.replace("conv.", "features.0."): values for key, values in as_pytorch(name, folded).items()}
    assert outcome(compare(variables, new)) == ("ok", "folded", ["folded"])


@pytest.mark.parametrize("name", sorted(name for name in KERNELS if "1d" in name))
def test_a_window_with_an_axis_of_1_more(name, compare):
    """TensorFlow Lite has no convolutions along one axis."""
    variables, folded = drawn(name)
    new = {**folded, "conv/kernel": folded["conv/kernel"][None]}
    assert outcome(compare(variables, new)) == ("ok", "folded", ["folded"])
    assert outcome(compare(as_pytorch(name, variables), new)) == ("ok", "folded", ["folded"])


@pytest.mark.parametrize("name", sorted(name for name in KERNELS if name.endswith(("twice", "times"))))
def test_channels_by_multiplier_and_then_by_input_are_a_finding(name, compare):
    variables, folded = drawn(name)
    new = as_pytorch(name, folded)
    kernel = folded["conv/kernel"]
    new["conv.weight"] = np.moveaxis(kernel, (-1, -2), (0, 1)).reshape(-1, 1, *kernel.shape[:-2])
    assert outcome(compare(variables, new)) == ("finding", None, ["unmatched"])


def test_a_transposed_convolution_in_groups(compare):
    """PyTorch keeps [inputs, outputs of a group, ...], and TensorFlow has none."""
    random = np.random.default_rng(4)
    variables, folded = drawn("conv2d")
    weight = random.uniform(-1, 1, (6, 4, 3, 2)).astype("f4")
    scale = variables["bn/gamma"] / np.sqrt(variables["bn/moving_variance"] + np.float32(EPSILON))
    scaled = weight * np.repeat(scale.reshape(2, 4), 3, axis=0)[:, :, None, None]
    del variables["conv/kernel"], folded["conv/kernel"]
    result = compare({**variables, "conv.weight": weight}, {**folded, "conv.weight": scaled})
    assert outcome(result) == ("ok", "folded", ["folded"])


def test_layouts_of_shapes_that_are_none():
    assert layouts((0, 3, 2), 0) == []
    assert [shape for shape, _ in layouts((0, 0, 4), 4)] == [(4, 0, 0)]
    assert layouts((5, 5), 4) == []


def test_no_kernels_to_find_a_folded_batch_norm_by(compare):
    """As in a file of Keras, of which vectors alone are read."""
    variables, folded = drawn("conv2d")
    norm = {key: values for key, values in variables.items() if key.startswith("bn")}
    result = compare(norm, as_pytorch("conv2d", folded))
    (layer,) = result["layers"]
    assert (layer["verdict"], layer["causes"], result["ok"]) == ("undecidable", [], False)
    assert "no kernel of OLD can be read; give OLD as a checkpoint of TensorFlow or as `.npz`" in layer["explanation"]


def _keras_layer(keras, name):
    shape, channels, groups = KERNELS[name]
    window = shape[:-2]
    kinds = {"conv": f"Conv{len(window)}D", "dense": "Dense"}
    kind = kinds[name.rstrip("0123456789d_").split("_")[0].rstrip("0123456789d")]
    if kind == "Dense":
        return keras.layers.Dense(channels, name="conv")
    if "depthwise" in name:
        make = getattr(keras.layers, f"Depthwise{kind}")
        return make(window, depth_multiplier=channels // INPUTS, name="conv")
    if "transposed" in name:
        return getattr(keras.layers, f"{kind}Transpose")(channels, window, name="conv")
    return getattr(keras.layers, kind)(channels, window, groups=groups, name="conv")


def _torch_layer(torch, name):
    shape, channels, groups = KERNELS[name]
    window = shape[:-2]
    if not window:
        return torch.nn.Linear(INPUTS, channels)
    if "transposed" in name:
        return getattr(torch.nn, f"ConvTranspose{len(window)}d")(INPUTS, channels, window)
    return getattr(torch.nn, f"Conv{len(window)}d")(INPUTS, channels, window, groups=groups)


@pytest.mark.torch
@pytest.mark.parametrize("name", sorted(KERNELS))
def test_converted_from_keras_and_folded_by_pytorch(name, tmp_path):
    import keras
    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

    variables, _ = drawn(name)
    size = len(KERNELS[name][0]) - 2
    own = _keras_layer(keras, name)
    model = keras.Sequential(
        [keras.Input((*[8] * size, INPUTS)), own, keras.layers.BatchNormalization(epsilon=EPSILON, name="bn")]
    )
    for weight in model.weights:
        weight.assign(variables["/".join(weight.path.split("/")[-2:])])
    port, norm = _torch_layer(torch, name), getattr(torch.nn, f"BatchNorm{size or 1}d")(KERNELS[name][1], eps=EPSILON)
    stored = as_pytorch(name, variables)
    names = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    norm.load_state_dict({k: torch.from_numpy(stored[f"bn/{v}"]) for k, v in names.items()}, strict=False)
    port.load_state_dict({k: torch.from_numpy(stored[f"conv.{k}"]) for k in ("weight", "bias")})
    norm.eval(), port.eval()
    if size == 0:
        fused = fuse_linear_bn_eval(port, norm)
    else:
        fused = fuse_conv_bn_eval(port, norm, transpose="transposed" in name)
    data = np.random.default_rng(0).normal(size=(2, *[8] * size, INPUTS)).astype("f4")
    outputs = np.asarray(model(data, training=False))
    moved = torch.from_numpy(np.moveaxis(data, -1, 1).copy())
    for ported in (norm(port(moved)), fused(moved)):
        # A wrong order of axes is off by far more than this.
        np.testing.assert_allclose(np.moveaxis(ported.detach().numpy(), 1, -1), outputs, atol=1e-3)
    np.savez(tmp_path / "old.npz", **{"/".join(w.path.split("/")[-2:]): np.asarray(w) for w in model.weights})
    torch.save({f"conv.{key}": values for key, values in fused.state_dict().items()}, tmp_path / "new.pt")
    result = compare_checkpoints(tmp_path / "old.npz", tmp_path / "new.pt", epsilon=EPSILON)
    assert outcome(result) == ("ok", "folded", ["folded"])
