"""Faults as they are made in PyTorch, and what an audit names first; test_torch_recorder.py has others."""

import copy
import subprocess
import sys

import numpy as np
import pytest
from recorded import verdicts

from tf1bn import trace
from tf1bn.diagnosis import diagnose
from tf1bn.diagnosis.conclude import audit_result
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


# Training steps that are to leave the statistics alone.


def withholding(torch):
    """A batch norm as in perrying/realistic-ssl-evaluation-pytorch: a flag of its own drops the running statistics."""

    class Norm(torch.nn.BatchNorm2d):
        update = True

        def forward(self, x):
            if self.update:
                return super().forward(x)
            return torch.nn.functional.batch_norm(x, None, None, self.weight, self.bias, True, self.momentum, self.eps)

    return Norm(3)


def switch(norm, by, on):
    setattr(norm, "update" if by == "call" else "track_running_stats", on)


@pytest.mark.parametrize("by", ["call", "flag"])
def test_passes_that_leave_the_statistics_alone_beside_those_that_do_not(torch, record, path, by):
    """As of virtual adversarial training: nothing is wrong, and the report says which passes these are."""
    norm = withholding(torch)
    with record(norm, path):
        for seed in range(6):
            switch(norm, by, seed % 3 == 0)
            norm(images(torch, seed))
        switch(norm, by, True)
        norm.eval()(images(torch, 7))
    (result,) = diagnose(trace.open(path))
    assert result.verdict == "ok"
    assert [(cause.id, cause.severity) for cause in result.causes][:1] == [("not-updated", "advisory")]
    assert "In 4 of 6 steps in training mode (1, 2, 4, 5)" in result.explanation
    assert "should be in all 2 training steps" in result.explanation
    assert "did not change in the inference step" in result.explanation
    layer = audit_result([result])["layers"][0]
    assert (layer["training_steps"], layer["withheld_steps"]) == (2, 4)


@pytest.mark.parametrize("by", ["call", "flag"])
def test_passes_that_all_leave_the_statistics_alone(torch, record, tmp_path, by):
    norm, other = withholding(torch), torch.nn.BatchNorm2d(3)
    switch(norm, by, False)
    for model, name in ((norm, "new"), (other, "old")):
        with record(model, tmp_path / name):
            for seed in range(3):
                model(images(torch, seed))
    (result,) = diagnose(trace.open(tmp_path / "new"))
    assert (result.verdict, [cause.id for cause in result.causes][:1]) == ("finding", ["not-updated"])
    assert "In all 3 steps in training mode" in result.explanation
    (layer,) = compare_traces(trace.open(tmp_path / "old"), trace.open(tmp_path / "new")).layers
    assert (layer["verdict"], [cause["id"] for cause in layer["causes"]][:1]) == ("finding", ["not-updated"])


def test_the_last_step_of_a_recording_that_nobody_closed(torch, path):
    code = (
        "import sys, torch; from tf1bn.recorders.torch import record; norm = torch.nn.BatchNorm1d(2); "
        "recorder = record(norm, sys.argv[1]); [norm(torch.rand(4, 2)) for _ in range(3)]"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert len(list(trace.open(path))) == 3
    assert "3 steps" in done.stderr


@pytest.mark.parametrize(("reset", "expected"), [(True, ["changed-between-steps"]), (False, ["no-memory"])])
def test_an_average_of_all_batches_by_a_momentum_for_each(torch, record, path, reset, expected):
    """As bn_update of timgaripov/swa: the first batch of each average has momentum 1, and it drops nothing of worth.

    Without the reset it is as wrong, or right, and drops the average of before.
    """
    norm = torch.nn.BatchNorm2d(3)
    with record(norm, path):
        for _ in range(2):
            if reset:
                norm.running_mean, norm.running_var = torch.zeros(3), torch.ones(3)
            for seed in range(3):
                norm.momentum = 1 / (seed + 1)
                norm(images(torch, seed))
    (result,) = diagnose(trace.open(path))
    assert (result.verdict, [cause.id for cause in result.causes]) == ("ok", expected)


def test_a_momentum_in_the_place_of_epsilon_is_advised_on(torch, record, path):
    """As in eriklindernoren/PyTorch-GAN: the second argument is eps. An epsilon as usual is not mentioned."""
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3, 0.8), torch.nn.BatchNorm2d(3, 1e-2))
    with record(model, path):
        for seed in range(3):
            model(images(torch, seed))
    odd, usual = diagnose(trace.open(path))
    assert (odd.verdict, usual.verdict) == ("ok", "ok")
    assert [(cause.id, cause.severity) for cause in odd.causes if cause.id == "epsilon"] == [("epsilon", "advisory")]
    assert "sqrt(v / (v + 0.8)), 0.75 where v is 1" in odd.explanation
    assert "epsilon" not in [cause.id for cause in usual.causes]


def test_a_model_saved_whole_while_it_is_recorded_does_not_need_tf1bn(torch, record, path, tmp_path):
    model = small(torch)
    with record(model, path):
        model(images(torch, 0))
        torch.save(model, tmp_path / "whole.pt")
        twin = copy.deepcopy(model)
        twin(images(torch, 1))
    code = (
        "import sys, torch; sys.modules['tf1bn'] = None; model = torch.load(sys.argv[1], weights_only=False); "
        "print(model(torch.zeros(2, 3, 6, 6)).isfinite().all().item())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "whole.pt")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert b"tf1bn" not in (tmp_path / "whole.pt").read_bytes()
    assert len(list(trace.open(path))) == 1
