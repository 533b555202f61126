"""The PyTorch example of docs/traces.md records running statistics that the checker agrees with."""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from tf1bn import checker, trace

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "traces.md").read_text(encoding="utf-8")
(EXAMPLE,) = (block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "import torch" in block)


class Tensor(np.ndarray):
    def detach(self):
        return self

    cpu = detach

    def numpy(self):
        return np.asarray(self)


def tensor(values):
    return np.asarray(values, np.float32).view(Tensor)


class Module:
    """As much of torch.nn.Module as the example needs: hooks, names, train and eval."""

    def __init__(self, *children):
        self.children, self.training = children, True
        self._before, self._after = [], []

    def register_forward_pre_hook(self, hook):
        self._before.append(hook)

    def register_forward_hook(self, hook):
        self._after.append(hook)

    def named_modules(self):
        yield "", self
        yield from ((str(i), child) for i, child in enumerate(self.children))

    def eval(self):
        for _, module in self.named_modules():
            module.training = False

    def forward(self, x):
        for child in self.children:
            x = child(x)
        return x

    def __call__(self, x):
        for hook in self._before:
            assert hook(self, (x,)) is None
        y = self.forward(x)
        for hook in self._after:
            assert hook(self, (x,), y) is None
        return y


class BatchNorm2d(Module):
    def __init__(self, channels, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.running_mean, self.running_var = tensor(np.zeros(channels)), tensor(np.ones(channels))

    def forward(self, x):
        mean, variance, n = x.mean((0, 2, 3)), x.var((0, 2, 3)), x.size // x.shape[1]
        if self.training:
            # In place, as PyTorch does: an example that keeps no copy records the same array before and after.
            self.running_mean += np.float32(self.momentum) * (mean - self.running_mean)
            self.running_var += np.float32(self.momentum) * (variance * n / (n - 1) - self.running_var)
        return (x - mean[:, None, None]) / np.sqrt(variance[:, None, None] + np.float32(self.eps))


def imitated():
    nn = types.SimpleNamespace(
        BatchNorm1d=type("BatchNorm1d", (), {}),
        BatchNorm2d=BatchNorm2d,
        BatchNorm3d=type("BatchNorm3d", (), {}),
        Sequential=Module,
    )
    return types.SimpleNamespace(nn=nn, tensor=tensor)


@pytest.mark.parametrize(
    "imitation", [pytest.param(True, id="imitation"), pytest.param(False, id="torch", marks=pytest.mark.torch)]
)
def test_the_example_records_pytorch(tmp_path, monkeypatch, imitation):
    torch = imitated() if imitation else pytest.importorskip("torch", reason="PyTorch is not installed")
    monkeypatch.setitem(sys.modules, "torch", torch)
    names = {}
    exec(EXAMPLE, names)
    rng = np.random.default_rng(0)
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3, eps=1e-3, momentum=0.5))
    with trace.Writer(tmp_path / "run.trace") as writer:
        names["record"](model, writer)
        for step in range(4):
            if step == 3:
                model.eval()
            model(torch.tensor(rng.normal(5, 2, (4, 3, 6, 5)).astype(np.float32)))
    opened = trace.open(tmp_path / "run.trace")
    assert {name: layer.decay for name, layer in opened.layers.items()} == {"0": 0.9, "1": 0.5}
    assert [step.training for step in opened] == [True, True, True, False]
    for step in opened:
        assert list(step.layers) == ["0", "1"]
        for record in step.layers.values():
            assert record.training == (step.training,)
            stats = checker.MovingStats(
                record.moving_mean_before,
                record.moving_variance_before,
                decay=record.decay,
                bessel=record.layer.fused,
            )
            if step.training:
                stats.update(record.inputs[0], data_format=record.layer.data_format)
                assert not np.array_equal(record.moving_mean_before, record.moving_mean_after)
            assert stats.compare(record.moving_mean_after, record.moving_variance_after).ok
