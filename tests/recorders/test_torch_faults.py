"""Faults as they are made in PyTorch, and what an audit names first; test_torch_recorder.py has others."""

import copy

import numpy as np
import pytest
from recorded import verdicts

from tf1bn import trace
from tf1bn.diagnosis import diagnose
from tf1bn.parity.traces.compare import compare_traces

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.fixture
def record():
    from tf1bn.recorders.torch import record

    return record


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.trace"


def images(torch, seed, batch=8):
    return torch.tensor(np.random.default_rng(seed).normal(2, 1.5, (batch, 3, 6, 6)).astype(np.float32))


def small(torch):
    torch.manual_seed(0)
    nn = torch.nn
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2))


def first_causes(path):
    return {name: causes[:1] for name, (_, causes) in verdicts(path).items()}


def test_statistics_in_bfloat16(torch, record, path):
    """`model.bfloat16()` converts the buffers too: at momentum .01 their weights are .988 and .01."""
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3, momentum=0.01)).bfloat16()
    with record(model, path, keep="moments"):
        for seed in range(200):
            model(images(torch, seed).bfloat16())
    assert first_causes(path) == {"0": ["half-precision"]}
    (result,) = diagnose(path)
    assert "The statistics are kept in bfloat16" in result.explanation


@pytest.mark.parametrize("momentum", [0.1, 0.01])
@pytest.mark.parametrize("keep", ["all", "moments"])
def test_a_few_steps_in_bfloat16_are_ok(torch, record, path, momentum, keep):
    for seed in range(5):
        model = torch.nn.Sequential(torch.nn.BatchNorm2d(3, momentum=momentum)).bfloat16()
        with record(model, path, keep=keep, overwrite=True):
            for step in range(5):
                model((images(torch, 10 * seed + step) * 10**seed).bfloat16())
            model.eval()
            model(images(torch, seed).bfloat16())
        assert verdicts(path) == {"0": ("ok", [])}
        assert trace.open(path).layers["0"].dtype == "bfloat16"


def test_another_momentum_shows_in_bfloat16(torch, record, path):
    for name, momentum in (("old", 0.1), ("new", 0.9)):
        model = torch.nn.Sequential(torch.nn.BatchNorm2d(3, momentum=momentum)).bfloat16()
        with record(model, path.with_name(name), keep="all"):
            for seed in range(3):
                model(images(torch, seed).bfloat16())
    result = compare_traces(trace.open(path.with_name("old")), trace.open(path.with_name("new")))
    assert result["layers"][0]["verdict"] != "ok"


def test_an_average_of_weights_without_its_buffers(torch, record, path):
    """The usual loop over `parameters()`, which leaves running_mean and running_var of the copy at their start."""
    model = small(torch)
    averaged = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for seed in range(4):
        loss = (model(images(torch, seed)) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for old, new in zip(averaged.parameters(), model.parameters(), strict=True):
                old.lerp_(new, 0.5)
    averaged.eval()
    with record(averaged, path, keep="all"):
        for seed in range(3):
            averaged(images(torch, seed))
    assert first_causes(path) == {"1": ["not-restored"], "4": ["not-restored"]}
    for result in diagnose(path):
        assert "parameters alone" in result.explanation


def test_overflow_of_autocast(torch, record, path):
    model = small(torch)
    with record(model, path):
        for scale in (1, 1e3, 1e5):
            with torch.autocast("cpu", torch.float16):
                model(images(torch, 0) * scale)
    assert first_causes(path)["1"] == ["not-finite"]


def test_evaluation_mode_in_the_middle_of_training(torch, record, path):
    """`eval()` for a validation, and no `train()` after it."""
    model = small(torch)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with record(model, path, keep="all"):
        for seed in range(6):
            if seed == 3:
                model.eval()
            (model(images(torch, seed)) - 1).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    assert set(map(tuple, first_causes(path).values())) == {("training-flag-off",)}


def test_one_process_of_several_without_synchronisation(torch, record, tmp_path):
    """What `convert_sync_batchnorm` would have pooled: the joined trace says so of a layer that should have been."""
    whole = images(torch, 0, 16)
    paths = [tmp_path / f"run.rank{rank}.trace" for rank in range(2)]
    for path, half in zip(paths, (whole[:8], whole[8:]), strict=True):
        model = small(torch)
        with record(model, path, keep="inputs"):
            model(half)
    trace.join(paths, tmp_path / "joined.trace")
    declared = trace.open(tmp_path / "joined.trace")
    path = tmp_path / "pooled.trace"
    with trace.Writer(path) as writer:
        writer.add_layers({"1": declared.layers["1"]})
        halves = [next(iter(trace.open(one))).layers["1"] for one in paths]
        names = [f"moving_{one}_{when}" for one in ("mean", "variance") for when in ("before", "after")]
        entry = {name: getattr(halves[0], name) for name in names}
        entry |= {"inputs": [np.asarray(half.inputs[0]) for half in halves], "reduction": "pooled", "replicas": [0, 1]}
        writer.add_step({"1": entry}, training=True)
    assert verdicts(path)["1"] == ("finding", ["replica"])


def test_a_shared_module_is_named(torch, record, path):
    norm = torch.nn.BatchNorm2d(4)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), norm, torch.nn.Conv2d(4, 4, 1), norm)
    with record(model, path):
        for seed in range(3):
            model(images(torch, seed))
    assert first_causes(path) == {"1": ["double-update"]}
