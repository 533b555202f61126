"""Cost of recording PyTorch and Keras models: training steps of a small ResNet, recorded and not, in turn.

    make bench NAME=frameworks       exit code 1 if keep="moments" costs more than 30 % of a step

The ResNet for 32x32 images with 19 batch-norm layers (He et al. 2016, arXiv:1512.03385, section 4.2, n = 3): forward,
backward and momentum optimizer. Keras runs on the backend that KERAS_BACKEND names. Prints the median step and the
median of the ratios to the plain step just before.
"""

import argparse
import importlib.util
import os
import shutil
import statistics
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

LIMIT = 1.3
KEEP = ("moments", "all")


def torch_model(torch):
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, before, channels, stride):
            super().__init__()
            self.first = nn.Sequential(nn.Conv2d(before, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels))
            self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))
            self.stride, self.more = stride, channels - before

        def forward(self, x):
            y = self.second(torch.relu(self.first(x)))
            if self.more:
                x = nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
            return torch.relu(x + y)

    layers = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    before = 16
    for channels in (16, 32, 64):
        for block in range(3):
            layers.append(Block(before, channels, 2 if channels > 16 and block == 0 else 1))
            before = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def torch_steps(folder, batch):
    """A function that makes the training step of a new model, recorded or not."""
    import torch

    from tf1bn.recorders.torch import record

    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(batch, 3, 32, 32)).astype(np.float32))
    labels = torch.tensor(rng.integers(0, 10, batch))

    def make(keep):
        model = torch_model(torch)
        optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
        if keep:
            record(model, os.path.join(folder, f"torch-{keep}"), keep=keep, max_bytes=None)

        def step():
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), labels).backward()
            optimizer.step()

        return step

    return make


def keras_steps(folder, batch):
    """Likewise for Keras, whose compiled training step runs."""
    import keras

    from tf1bn.recorders.keras import record

    layers = keras.layers
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, 32, 32, 3)).astype(np.float32)
    labels = rng.integers(0, 10, batch)

    def convolution(x, channels, stride=1):
        x = layers.Conv2D(channels, 3, stride, padding="same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    def make(keep):
        inputs = keras.Input((32, 32, 3))
        h = layers.ReLU()(convolution(inputs, 16))
        for channels in (16, 32, 64):
            for block in range(3):
                stride = 2 if channels > 16 and block == 0 else 1
                y = convolution(layers.ReLU()(convolution(h, channels, stride)), channels)
                if stride == 2:
                    h = layers.AveragePooling2D(1, 2)(h)
                    h = layers.Concatenate()([h, h])
                h = layers.ReLU()(h + y)
        model = keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(h)))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.01, 0.9), loss)
        if keep:
            record(model, os.path.join(folder, f"keras-{keep}"), keep=keep, max_bytes=None)
        return lambda: model.train_on_batch(x, labels)

    return make


def measure(name, make, count):
    """Print the times of a framework, and return the ratio of keep="moments" to the plain step."""
    steps = {"plain": make(None), **{keep: make(keep) for keep in KEEP}}
    taken = {kind: [] for kind in steps}
    for number in range(count + 3):
        for kind, step in steps.items():
            start = time.perf_counter()
            step()
            if number >= 3:
                taken[kind].append(time.perf_counter() - start)
    ratios = {}
    for kind, times in taken.items():
        ratios[kind] = statistics.median(a / b for a, b in zip(times, taken["plain"], strict=True))
        print(
            f"{name:<6} {kind:<8} median {1e3 * statistics.median(times):7.1f} ms   {ratios[kind]:.2f} of a plain step"
        )
    return ratios["moments"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("frameworks", metavar="FRAMEWORK", nargs="*", help="torch and keras; all that are installed")
    arguments = parser.parse_args()
    names = arguments.frameworks or [name for name in ("torch", "keras") if importlib.util.find_spec(name)]
    print(f"19 layers, batch {arguments.batch}, {arguments.steps} steps each in turn, {os.cpu_count()} cores")
    folder = tempfile.mkdtemp()
    try:
        make = {"torch": torch_steps, "keras": keras_steps}
        ratios = {name: measure(name, make[name](folder, arguments.batch), arguments.steps) for name in names}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    slow = [f"{name} {ratio:.2f}" for name, ratio in ratios.items() if not ratio <= LIMIT]
    if slow:
        sys.exit(f'keep="moments" costs {", ".join(slow)} of a plain step; at most {LIMIT} is allowed.')


if __name__ == "__main__":
    main()
