"""Makes the sample traces and checkpoints beside this file, with NumPy and `tf1bn.trace.Writer` alone.

    python docs/samples/make_samples.py [FOLDER]

A small network of two batch-norm layers is simulated in float32, for three training steps and one step of inference:

    original.trace   both layers average the population variance, as `fused=False` does in TensorFlow 1.x
    port.trace       the same network, whose second layer takes N/(N-1) times the batch variance instead
    original.npz     a checkpoint of the original's variables after the last step
    port.npz         the same under PyTorch's names; the second layer's variance was converted to a standard deviation
    restored.npz     the original's variables, but the statistics of the second layer are at their start values
"""

import sys
from pathlib import Path

import numpy as np

from tf1bn import trace

HERE = Path(__file__).resolve().parent
DECAY, EPSILON, CHANNELS = 0.7, 0.001, 2
TRAINING = (True, True, True, False)


class BatchNorm:
    """A batch-norm layer of `CHANNELS` channels in float32; with ``bessel`` it averages N/(N-1) times the variance."""

    def __init__(self, gamma, beta, bessel=False):
        self.gamma, self.beta = np.array(gamma, np.float32), np.array(beta, np.float32)
        self.mean, self.variance = np.zeros(CHANNELS, np.float32), np.ones(CHANNELS, np.float32)
        self.bessel = bessel

    def __call__(self, x, training):
        """The output for ``x`` [N, H, W, C], and what a trace holds of this step."""
        record = {"inputs": [x], "gamma": self.gamma, "beta": self.beta}
        record |= {"moving_mean_before": self.mean, "moving_variance_before": self.variance}
        mean, variance = self.mean, self.variance
        if training:
            mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
            count = x.size // CHANNELS
            averaged = variance * np.float32(count / (count - 1)) if self.bessel else variance
            rate = np.float32(1 - DECAY)
            self.mean = self.mean - (self.mean - mean) * rate
            self.variance = self.variance - (self.variance - averaged) * rate
        y = self.gamma * (x - mean) / np.sqrt(variance + np.float32(EPSILON)) + self.beta
        record |= {"outputs": [y], "moving_mean_after": self.mean, "moving_variance_after": self.variance}
        return y, record


def run(folder, bessel):
    """Write the trace of one run; returns the two layers by name."""
    layers = {
        "conv1/bn": BatchNorm([1.2, 0.8], [0.1, -0.3]),
        "conv2/bn": BatchNorm([0.9, 1.1], [0.0, 0.5], bessel=bessel),
    }
    mix = np.array([[1.5, -0.5], [0.25, 2.0]], np.float32)
    rng = np.random.default_rng(1)
    with trace.Writer(folder, overwrite=True, producer="docs/samples/make_samples.py") as writer:
        for name in layers:
            writer.add_layer(name, decay=DECAY, epsilon=EPSILON, fused=False)
        for training in TRAINING:
            x = rng.normal([2, -1], [3, 1], (2, 2, 2, CHANNELS)).astype(np.float32)
            y, first = layers["conv1/bn"](x, training)
            _, second = layers["conv2/bn"](np.maximum(y, 0) @ mix, training)
            writer.add_step({"conv1/bn": first, "conv2/bn": second}, training=training)
    return layers


def variables(layers, names, joined_by="/"):
    """The layers' arrays by variable name; ``names``: what gamma, beta, mean and variance are called."""
    return {
        f"{layer}{joined_by}{name}".replace("/", joined_by): array
        for layer, bn in layers.items()
        for name, array in zip(names, (bn.gamma, bn.beta, bn.mean, bn.variance), strict=True)
    }


def main(folder=HERE):
    folder = Path(folder)
    layers = run(folder / "original.trace", bessel=False)
    run(folder / "port.trace", bessel=True)
    original = variables(layers, ("gamma", "beta", "moving_mean", "moving_variance"))
    port = variables(layers, ("weight", "bias", "running_mean", "running_var"), joined_by=".")
    port["conv2.bn.running_var"] = np.sqrt(port["conv2.bn.running_var"])
    start = {"conv2/bn/moving_mean": np.zeros(CHANNELS), "conv2/bn/moving_variance": np.ones(CHANNELS)}
    restored = original | {name: array.astype(np.float32) for name, array in start.items()}
    for name, arrays in (("original", original), ("port", port), ("restored", restored)):
        np.savez(folder / f"{name}.npz", **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
