"""Recording PyTorch models: every kind of batch norm, every way to run one, and what an audit says of it."""

import copy
import io
import subprocess
import sys
import warnings

import numpy as np
import pytest
import resnet
from recorded import verdicts

from tf1bn import checker, trace
from tf1bn.diagnosis import diagnose
from tf1bn.parity.traces.compare import compare_traces

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.fixture
def record(torch):
    from tf1bn.recorders.torch import record

    return record


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.trace"


def images(torch, seed, channels=3, size=6, batch=8):
    values = np.random.default_rng(seed).normal(2, 1.5, (batch, channels, size, size))
    return torch.tensor(values.astype(np.float32))


def train(torch, model, steps=6, prepare=lambda model: None):
    """Real training: forward, backward, optimizer."""
    torch.manual_seed(0)
    model.train()
    model(images(torch, 99))  # initializes what is lazy
    prepare(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.05)

    def run(recording=None):
        for seed in range(steps):
            optimizer.zero_grad()
            model(images(torch, seed)).square().mean().backward()
            optimizer.step()

    return run


def assert_all_ok(path, layers):
    found = verdicts(path)
    assert list(found) == list(layers)
    assert set(map(str, found.values())) == {"('ok', [])"}


def test_the_small_resnet(torch, record, path):
    model = resnet.torch_net(torch)
    run = train(torch, model)
    with record(model, path) as recorder:
        run()
        model.eval()
        with torch.no_grad():
            model(images(torch, 50))
    assert_all_ok(path, [name.replace("/", ".") for name in resnet.NORMS])
    assert (recorder.steps, recorder.layers) == (7, 6)
    opened = trace.open(path)
    assert (opened.framework, opened.framework_version) == ("PyTorch", torch.__version__)
    steps = list(opened)
    assert [step.training for step in steps] == [True] * 6 + [False]
    # The first three training steps and the evaluation in full, of the rest the moments.
    kinds = [{record.inputs is not None for record in step.layers.values()} for step in steps]
    assert kinds == [{True}] * 3 + [{False}] * 3 + [{True}]


def test_recording_changes_no_bit(torch, record, path):
    results = []
    for recorded in (False, True):
        model = resnet.torch_net(torch)
        run = train(torch, model)
        if recorded:
            with record(model, path, keep="all"):
                run()
        else:
            run()
        results.append({name: value.numpy().tobytes() for name, value in model.state_dict().items()})
    assert results[0] == results[1]
    hooks = [module._forward_hooks or module._forward_pre_hooks for module in model.modules()]
    assert not any(hooks)
    assert torch.nn.functional.batch_norm.__module__ == "torch.nn.functional"


def test_the_values_are_those_of_the_layer(torch, record, path):
    layer = torch.nn.BatchNorm2d(3, momentum=0.25)
    batch = images(torch, 0)
    with record(layer, path, keep="all"):
        output = layer(batch)
    (step,) = trace.open(path)
    entry = step.layers["BatchNorm2d"]
    np.testing.assert_array_equal(entry.inputs[0], batch.numpy())
    np.testing.assert_array_equal(entry.outputs[0], output.detach().numpy())
    np.testing.assert_array_equal(entry.moving_mean_before, [0, 0, 0])
    exact = batch.numpy().astype(np.float64).mean(axis=(0, 2, 3)) / 4
    np.testing.assert_allclose(entry.moving_mean_after, exact, rtol=1e-6)
    assert (entry.decay, entry.layer.epsilon, entry.layer.channel_axis, entry.training) == (0.75, 1e-5, 1, (True,))


def test_inputs_that_are_overwritten_later_are_recorded_as_they_were(torch, record, path):
    layer = torch.nn.BatchNorm1d(2)
    batch = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    with record(layer, path, keep="inputs"), torch.no_grad():
        layer(batch)
        batch.zero_()
    (step,) = trace.open(path)
    np.testing.assert_array_equal(step.layers["BatchNorm1d"].inputs[0], [[1, 2], [3, 5]])
    assert step.layers["BatchNorm1d"].outputs is None


def kinds(torch):
    nn = torch.nn

    class Activated(nn.BatchNorm2d):
        def forward(self, x):
            return torch.relu(super().forward(x) - 1)

    class Own(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.register_buffer("running_mean", torch.zeros(channels))
            self.register_buffer("running_var", torch.ones(channels))

        def forward(self, x):
            return nn.functional.batch_norm(
                x, self.running_mean, self.running_var, None, None, self.training, 0.2, 1e-4
            )

    return {
        "plain": nn.BatchNorm2d(4),
        "no affine": nn.BatchNorm2d(4, affine=False),
        "cumulative": nn.BatchNorm2d(4, momentum=None),
        "lazy": nn.LazyBatchNorm2d(),
        "sync": nn.SyncBatchNorm(4),
        "subclass": Activated(4, momentum=0.3),
        "functional": Own(4),
    }


@pytest.mark.parametrize("kind", ["plain", "no affine", "cumulative", "lazy", "sync", "subclass", "functional"])
@pytest.mark.parametrize("keep", ["auto", "moments"])
def test_every_kind_of_batch_norm(torch, record, path, kind, keep):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), kinds(torch)[kind], torch.nn.Conv2d(4, 2, 1))
    with record(model, path, keep=keep):
        train(torch, model)()
        model.eval()
        model(images(torch, 7))
    assert_all_ok(path, ["1"])
    records = [step.layers["1"] for step in trace.open(path)]
    if kind == "cumulative":
        decays = [entry.decay for entry in records if entry.training[0]]
        assert decays == pytest.approx([1 - 1 / n for n in range(1, 8)])
    elif kind == "functional":
        assert (records[0].layer.decay, records[0].layer.epsilon) == (0.8, 1e-4)


@pytest.mark.parametrize(
    ("dimensions", "shape"), [(1, (6, 4)), (1, (6, 4, 5)), (2, (6, 4, 5, 3)), (3, (2, 4, 3, 5, 2))]
)
def test_every_rank(torch, record, path, dimensions, shape):
    layer = getattr(torch.nn, f"BatchNorm{dimensions}d")(4)
    with record(layer, path):
        for seed in range(3):
            layer(torch.tensor(np.random.default_rng(seed).normal(3, 2, shape).astype(np.float32)))
    assert_all_ok(path, [f"BatchNorm{dimensions}d"])


def test_a_layer_without_statistics_is_listed_with_the_reason(torch, record, path):
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3, track_running_stats=False), torch.nn.BatchNorm2d(3))
    with record(model, path):
        model(images(torch, 0))
    opened = trace.open(path)
    assert "track_running_stats=False" in opened.layers["0"].unrecordable
    assert [list(step.layers) for step in opened] == [["1"]]


@pytest.mark.parametrize("moves", [True, False])
def test_a_module_that_moves_statistics_by_itself_is_listed_with_the_reason(torch, record, path, moves):
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("running_mean", torch.zeros(3))
            self.register_buffer("running_var", torch.ones(3))

        def forward(self, x):
            if moves:
                self.running_mean += 0.1 * (x.mean((0, 2, 3)) - self.running_mean)
            shape = 1, 3, 1, 1
            return (x - self.running_mean.view(shape)) / self.running_var.view(shape).sqrt()

    model = torch.nn.Sequential(Own(), torch.nn.BatchNorm2d(3))
    with record(model, path):
        model(images(torch, 0))
    # One whose statistics are constants, as a frozen layer has, is no batch norm to be judged.
    assert verdicts(path) == {"1": ("ok", [])}
    assert set(trace.open(path).layers) == ({"0", "1"} if moves else {"1"})
    with record(model[:1], path, overwrite=True):
        model[0](images(torch, 0))
    (layer,) = trace.open(path).layers.values()
    assert "calls no `torch.nn.functional.batch_norm`" in layer.unrecordable


def test_modes_of_single_modules(torch, record, path):
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Conv2d(3, 3, 1), torch.nn.BatchNorm2d(3))
    model[2].eval()
    model[2].requires_grad_(False)
    with record(model, path):
        for seed in range(3):
            model(images(torch, seed)).mean().backward()
    assert_all_ok(path, ["0", "2"])
    for step in trace.open(path):
        assert (step.training, step.layers["0"].training, step.layers["2"].training) == (True, (True,), (False,))
    assert not trace.open(path).layers["2"].trainable


@pytest.mark.parametrize("keep", ["inputs", "moments"])
def test_an_average_of_all_batches_with_two_applications_in_a_step(torch, record, path, keep):
    norm = torch.nn.BatchNorm2d(3, momentum=None)
    model = torch.nn.Sequential(norm, torch.nn.Conv2d(3, 3, 1), norm)
    with record(model, path, keep=keep):
        train(torch, model)()
        model.eval()
        model(images(torch, 7))
    *trained, evaluated = [step.layers["0"] for step in trace.open(path)]
    assert [entry.decay for entry in trained] == [None] * len(trained)
    expected = [1 - 1 / n for n in range(1, 2 * len(trained) + 1)]
    assert [decay for entry in trained for decay in entry.decays] == pytest.approx(expected)
    assert evaluated.decays is None
    (result,) = diagnose(path)
    assert [cause.id for cause in result.causes] == ["double-update"]
    assert result.mean_error <= result.mean_bound
    assert result.variance_error <= result.variance_bound


def test_a_layer_applied_twice_keeps_both_applications(torch, record, path):
    norm = torch.nn.BatchNorm2d(3)
    model = torch.nn.Sequential(norm, torch.nn.Conv2d(3, 3, 1), norm)
    with record(model, path):
        train(torch, model)()
    for step in trace.open(path):
        assert step.layers["0"].applications == 2
    assert verdicts(path) == {"0": ("finding", ["double-update"])}


class Checkpointed:
    """Makes a model whose first block is computed again in the backward pass."""

    @staticmethod
    def make(torch, reentrant):
        from torch.utils.checkpoint import checkpoint

        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                nn = torch.nn
                self.block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
                self.head = nn.Sequential(nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2))

            def forward(self, x):
                return self.head(checkpoint(self.block, x.requires_grad_(), use_reentrant=reentrant))

        return Net()


@pytest.mark.parametrize("reentrant", [False, True])
def test_recomputed_activations(torch, record, path, reentrant):
    model = Checkpointed.make(torch, reentrant)
    with record(model, path, keep="all"):
        train(torch, model, steps=4)()
    steps = list(trace.open(path))
    assert len(steps) == 5
    for step in steps[1:]:
        entry = step.layers["block.1"]
        assert (entry.recomputed, entry.updated) == ((False, True), (True, True))
        np.testing.assert_array_equal(entry.inputs[0], entry.inputs[1])
        assert step.layers["head.1"].recomputed == (False,)
    assert verdicts(path) == {"block.1": ("finding", ["double-update"]), "head.1": ("ok", [])}
    (explanation,) = [result.explanation for result in diagnose(path) if result.name == "block.1"]
    assert explanation.startswith("A backward pass computed the layer once more (activation checkpointing)")


@pytest.mark.parametrize(("reentrant", "expected"), [(True, ("ok", [])), (False, ("finding", ["not-updated"]))])
def test_statistics_that_only_the_recomputation_updates(torch, record, path, reentrant, expected):
    """As by wrappers that switch the statistics off in the forward pass: one update for each batch, as it should be.

    But for the way that is not reentrant: it stops as soon as it has what was saved, which is before the update.
    """
    norm = torch.nn.BatchNorm2d(3)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = norm

        def forward(self, x):
            def block(x):
                norm.track_running_stats = torch._C._current_graph_task_id() != -1
                return norm(x)

            return torch.utils.checkpoint.checkpoint(block, x.requires_grad_(), use_reentrant=reentrant)

    with record(Net(), path) as recorder:
        for seed in range(4):
            recorder._model(images(torch, seed)).square().mean().backward()
    assert [step.layers["norm"].updated for step in trace.open(path)] == [(False, True)] * 4
    assert verdicts(path) == {"norm": expected}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_autocast(torch, record, path, dtype):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(inplace=True))
    with record(model, path, keep="all"):
        for seed in range(4):
            with torch.autocast("cpu", getattr(torch, dtype)):
                model(images(torch, seed))
    assert_all_ok(path, ["1"])
    entry = next(iter(trace.open(path))).layers["1"]
    assert (entry.inputs_dtype, entry.outputs_dtype, entry.layer.dtype) == (dtype, dtype, "float32")


def test_gradient_accumulation_is_one_step_for_each_batch(torch, record, path):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with record(model, path) as recorder:
        for seed in range(6):
            model(images(torch, seed)).square().mean().backward()
            if seed % 3 == 2:
                optimizer.step()
                optimizer.zero_grad()
    assert recorder.steps == 6
    assert_all_ok(path, ["1"])


# Faults, as they are made in PyTorch.


def test_evaluation_mode_left_on(torch, record, path):
    model = resnet.torch_net(torch)
    run = train(torch, model, prepare=lambda model: model.eval())
    with record(model, path):
        run()
    assert {layer: causes[0] for layer, (_, causes) in verdicts(path).items()} == {
        name.replace("/", "."): "training-flag-off" for name in resnet.NORMS
    }


def test_a_model_that_is_only_evaluated_with_gradients_is_not_one_that_is_trained(torch, record, path):
    """As of a perceptual loss: gradients run through it, and no optimizer moves it."""
    model = resnet.torch_net(torch)
    model(images(torch, 0))
    model.eval()
    with record(model, path):
        for seed in range(3):
            model(images(torch, seed).requires_grad_()).square().mean().backward()
    assert_all_ok(path, [name.replace("/", ".") for name in resnet.NORMS])
    assert not any(step.training for step in trace.open(path))


def test_an_average_of_weights_is_not_one_that_is_trained(torch, record, path):
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    model(images(torch, 0))
    model.eval()
    with record(model, path), torch.no_grad():
        for seed in range(3):
            model(images(torch, seed))
            model[0].weight.mul_(1.01)
    assert not any(step.training for step in trace.open(path))


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda norm: setattr(norm, "momentum", 0.0), "frozen"),
        (lambda norm: setattr(norm, "track_running_stats", False), "not-updated"),
    ],
)
def test_frozen_by_accident(torch, record, path, change, cause):
    model = resnet.torch_net(torch)
    run = train(torch, model, prepare=lambda model: change(model.get_submodule("block1.bn2")))
    with record(model, path):
        run()
    found = verdicts(path)
    assert found.pop("block1.bn2")[1][:1] == [cause]
    assert {verdict for verdict, _ in found.values()} == {"ok"}


def test_overflow(torch, record, path):
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    with record(model, path):
        model(images(torch, 0))
        model(images(torch, 1).half().mul(1e4).mul(1e4).float())
    assert verdicts(path)["0"] == ("finding", ["not-finite"])


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda norm: setattr(norm, "momentum", 0.9), "momentum-flipped"),
        (lambda norm: setattr(norm, "eps", 1e-5), "epsilon"),
    ],
)
def test_two_traces_are_compared(torch, record, tmp_path, change, cause):
    for name in ("old", "new"):
        model = resnet.torch_net(torch)
        if name == "new":
            change(model.get_submodule("block1.bn2"))
        with record(model, tmp_path / name, keep="all"):
            for trains, seed in ((True, 0), (True, 1), (False, 2)):
                model.train(trains)
                model(images(torch, seed))
    result = compare_traces(trace.open(tmp_path / "old"), trace.open(tmp_path / "new"))
    (wrong,) = [layer for layer in result["layers"] if layer["verdict"] != "ok"]
    assert (wrong["old"], wrong["causes"][0]["id"]) == ("block1.bn2", cause)


# What a step is.


def test_a_part_that_is_run_by_itself_makes_steps_of_its_own(torch, record, path):
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3))
    with record(model, path):
        model(images(torch, 0))
        model[0](images(torch, 1))
        model[0](images(torch, 2))
        model(images(torch, 3))
    assert [list(step.layers) for step in trace.open(path)] == [["0", "1"], ["0"], ["0"], ["0", "1"]]
    assert_all_ok(path, ["0", "1"])


def test_steps_that_are_called(torch, record, path):
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    with record(model, path, step_ends="call") as recorder:
        for seed in range(2):
            model(images(torch, seed))
            model(images(torch, seed + 10))
            recorder.step()
    assert [step.layers["0"].applications for step in trace.open(path)] == [2, 2]


def test_a_pass_that_fails_is_no_step(torch, record, path):
    class Net(torch.nn.Sequential):
        fail = False

        def forward(self, x):
            x = super().forward(x)
            if self.fail:
                raise RuntimeError("no")
            return x

    model = Net(torch.nn.BatchNorm2d(3))
    recorder = record(model, path)
    for seed in range(4):
        model.fail = seed % 2 == 1
        if model.fail:
            with pytest.raises(RuntimeError, match="no"):
                model(images(torch, seed))
        else:
            model(images(torch, seed))
    recorder.close()
    steps = list(trace.open(path))
    assert [(step.number, step.left_out) for step in steps] == [(0, 0), (2, 1)]
    assert_all_ok(path, ["0"])


# Brakes.


def test_every_second_step_leaves_gaps_that_are_known(torch, record, path):
    model = resnet.torch_net(torch)
    run = train(torch, model, steps=7)
    with record(model, path, every=3) as recorder:
        run()
    assert [(step.number, step.left_out) for step in trace.open(path)] == [(0, 0), (3, 2), (6, 2)]
    assert_all_ok(path, [name.replace("/", ".") for name in resnet.NORMS])
    text = " ".join(result.explanation for result in diagnose(path))
    assert "outside of the recorded steps" not in text
    assert "start values" not in text
    assert recorder.summary().endswith("4 steps of 7 left out.")


def test_a_slice_of_steps_and_patterns_of_layers(torch, record, path):
    model = resnet.torch_net(torch)
    run = train(torch, model)
    with record(model, path, steps=slice(2, 4), layers=["block1.*", "stem.bn"]):
        run()
    opened = trace.open(path)
    assert [step.number for step in opened] == [2, 3]
    assert list(opened.layers) == ["stem.bn", "block1.bn1", "block1.bn2"]
    assert_all_ok(path, opened.layers)


def test_the_trace_stays_below_its_largest_size(torch, record, path, capsys):
    model = resnet.torch_net(torch)
    run = train(torch, model)
    with record(model, path, keep="all", max_bytes=400_000) as recorder:
        run()
    size = sum(file.stat().st_size for file in (path / "arrays").iterdir())
    assert 0 < recorder.steps < 6
    assert 100_000 < size <= 400_000
    assert abs(recorder.bytes - size) < 20_000  # and steps.jsonl
    assert "with which it would exceed `max_bytes`" in capsys.readouterr().err
    assert_all_ok(path, [name.replace("/", ".") for name in resnet.NORMS])


# Bad input.


def test_refusals(torch, record, path):
    nn = torch.nn
    with pytest.raises(TypeError, match=r"^`model` is of type int; it must be a torch.nn.Module.$"):
        record(3, path)
    with pytest.raises(ValueError, match=r"^`model` is a Linear without a batch-norm layer"):
        record(nn.Linear(2, 2), path)
    with pytest.raises(ValueError, match=r"^`layers` fits no layer of the model; it has BatchNorm2d.$"):
        record(nn.BatchNorm2d(2), path, layers="encoder.*")
    with pytest.raises(ValueError, match=r"^`step_ends` is 'epoch'"):
        record(nn.BatchNorm2d(2), path, step_ends="epoch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.trace(nn.BatchNorm2d(3).eval(), images(torch, 0))
    with pytest.raises(ValueError, match="ScriptModule"):
        record(script, path)
    model = nn.BatchNorm2d(3)
    model._compiled_call_impl = object()  # as `model.compile()` leaves it
    with pytest.raises(ValueError, match=r"^`model` is compiled by torch.compile"):
        record(model, path)
    assert not path.exists()
    model = nn.BatchNorm2d(3)
    with record(model, path):
        with pytest.raises(ValueError, match="is being recorded already"):
            record(model, path.with_name("other"))
    with pytest.raises(FileExistsError, match="where a trace is"):
        record(model, path)
    with record(model, path, overwrite=True):
        pass


def test_a_model_that_is_not_run_says_so(torch, record, path, capsys):
    with record(torch.nn.BatchNorm2d(3), path):
        pass
    assert "no application of a layer was seen; what was traced or compiled before" in capsys.readouterr().err
    assert list(trace.open(path).layers) == ["BatchNorm2d"]


def test_copies_and_pickles_are_not_recorded(torch, record, path):
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    with record(model, path):
        model(images(torch, 0))
        other = copy.deepcopy(model)
        other(images(torch, 1))
        stream = io.BytesIO()
        torch.save(model, stream)
        stream.seek(0)
        torch.load(stream, weights_only=False)(images(torch, 2))
    assert len(list(trace.open(path))) == 1
    assert_all_ok(path, ["0"])


# JAX, if tests of its recorders ran before in this process, warns of every fork.
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
def test_a_fork_is_not_recorded(torch, record, path):
    model = torch.nn.BatchNorm2d(3)

    class Data(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            return float(model(torch.full((2, 3, 2, 2), float(i))).detach().sum())

    with record(model, path):
        list(torch.utils.data.DataLoader(Data(), num_workers=1, multiprocessing_context="fork"))
        model(images(torch, 0))
    assert len(list(trace.open(path))) == 1


def test_it_needs_no_tensorflow():
    code = "import sys, tf1bn.recorders.torch; print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_two_processes_with_one_path_each(torch, record, tmp_path):
    code = """
import sys, torch, torch.distributed as dist
from tf1bn.recorders.torch import record
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
model = torch.nn.parallel.DistributedDataParallel(model)
torch.manual_seed(rank)
with record(model, f"{folder}/run.trace"):
    for _ in range(3):
        model(torch.randn(4, 3, 5, 5)).square().mean().backward()
# Else the one that ends first may take the connection away from the other.
dist.barrier()
dist.destroy_process_group()
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(rank), str(tmp_path)], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    for rank in range(2):
        opened = trace.open(tmp_path / f"run.rank{rank}.trace")
        assert (opened.rank, opened.ranks, list(opened.layers)) == (rank, 2, ["1"])
        assert verdicts(opened.path)["1"][0] == "ok" or rank == 1


def test_moments_are_those_of_the_checker(torch, record, path):
    layer = torch.nn.BatchNorm2d(3)
    batch = images(torch, 0).contiguous(memory_format=torch.channels_last)
    with record(layer, path, keep="moments"):
        layer(batch)
    (step,) = trace.open(path)
    (moments,) = step.layers["BatchNorm2d"].moments
    values = batch.numpy().astype(np.float64)
    np.testing.assert_allclose(moments.mean, values.mean(axis=(0, 2, 3)), rtol=1e-13)
    np.testing.assert_allclose(moments.variance, values.var(axis=(0, 2, 3)), rtol=1e-13)
    assert isinstance(moments, checker.Moments)


def averaged(torch, batches=100):
    """A layer that averages all batches, trained with so many."""
    norm = torch.nn.BatchNorm2d(3, momentum=None)
    for seed in range(batches):
        norm(images(torch, 1000 + seed, size=2))
    return norm


def test_a_restored_average_goes_on_from_its_count(torch, record, path):
    norm = torch.nn.BatchNorm2d(3, momentum=None)
    norm.load_state_dict(averaged(torch).state_dict())
    with record(norm, path, keep="moments"):
        for seed in range(5):
            norm(images(torch, seed))
        norm.eval()
        norm(images(torch, 9))
    *trained, evaluated = [step.layers["BatchNorm2d"] for step in trace.open(path)]
    assert [entry.decay for entry in trained] == pytest.approx([1 - 1 / n for n in range(101, 106)], rel=1e-12)
    counts = [[int(entry.state["num_batches_tracked" + when][0]) for when in ("", "_after")] for entry in trained]
    assert counts == [[n, n + 1] for n in range(100, 105)]
    assert {int(count[0]) for count in evaluated.state.values()} == {105}
    assert_all_ok(path, ["BatchNorm2d"])


@pytest.mark.parametrize("when", [0, 3])
def test_an_average_whose_count_is_lost_drops_the_statistics_and_an_audit_says_so(torch, record, path, when):
    norm = averaged(torch)
    with record(norm, path):
        for seed in range(5):
            if seed == when:
                norm.num_batches_tracked.zero_()
            norm(images(torch, seed))
    (result,) = diagnose(path)
    assert [(cause.id, cause.variant) for cause in result.causes] == [("no-memory", "count")]
    assert f"Before step {when} `num_batches_tracked` is 0" in result.explanation


def test_a_new_average_and_one_that_was_reset_drop_nothing(torch, record, path):
    norm = torch.nn.BatchNorm2d(3, momentum=None)
    with record(norm, path):
        for seed in range(6):
            if seed == 3:
                norm.reset_running_stats()
            norm(images(torch, seed))
    (result,) = diagnose(path)
    assert [(cause.id, cause.variant) for cause in result.causes] == [("changed-between-steps", "start")]
    assert "`num_batches_tracked` went back from 3 to 0" in result.explanation


def test_the_count_tells_what_changed_statistics_between_steps(torch, record, path):
    norm = torch.nn.BatchNorm2d(3)
    with record(norm, path):
        for seed in range(6):
            norm(images(torch, seed))
            for extra in range(2 if seed in (1, 3) else 0):
                norm.forward(images(torch, 100 + extra))  # past the hooks
    (result,) = diagnose(path)
    assert "changed-between-steps" in {cause.id for cause in result.causes}
    assert "`num_batches_tracked` counted 2 more batches meanwhile" in result.explanation


def test_a_change_that_no_training_made(torch, record, path):
    norm = torch.nn.BatchNorm2d(3)
    with record(norm, path):
        for seed in range(4):
            if seed == 2:
                norm.running_mean += 5
            norm(images(torch, seed))
    (result,) = diagnose(path)
    assert "`num_batches_tracked` is what it was: no run of the layer in training mode made the" in result.explanation


@pytest.mark.parametrize("count", [None, "float"])
def test_a_layer_without_a_count(torch, record, path, count):
    norm = torch.nn.BatchNorm2d(3)
    norm.num_batches_tracked = None if count is None else torch.tensor(0.0)
    with record(norm, path):
        norm(images(torch, 0))
    (step,) = trace.open(path)
    assert not step.layers["BatchNorm2d"].state
