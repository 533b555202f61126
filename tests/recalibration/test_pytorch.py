"""PyTorch modules, recalibrated: the statistics, what stays as it was, and what is refused."""

import warnings

import numpy as np
import pytest

from tf1bn.errors import RecalibrationError
from tf1bn.recalibration import recalibrate

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module", autouse=True)
def loaded():
    """PyTorch; loading it takes two seconds, which a run that leaves these tests out does without."""
    global torch, nn
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    nn = torch.nn


@pytest.fixture
def no_grad():
    with torch.no_grad():
        yield


def data(count=4, batch=6, seed=0):
    rng = np.random.default_rng(seed)
    return [torch.tensor(rng.normal(1, 2, (batch + i, 3, 7, 7)).astype(np.float32)) for i in range(count)]


def net_of_two():
    """A network of two layers, with a dropout between them that would disturb the second one if it were on."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv1, self.bn1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            self.conv2, self.bn2 = nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)
            self.drop = nn.Dropout(0.5)

        def before_bn1(self, x):
            return self.conv1(x)

        def before_bn2(self, x):
            return self.conv2(self.drop(torch.relu(self.bn1(self.before_bn1(x)))))

        def forward(self, x):
            return self.bn2(self.before_bn2(x))

    return Net()


def population(values):
    """Mean and unbiased variance over all values of a channel, in float64."""
    values = torch.cat(list(values)).double()
    return values.mean((0, 2, 3)), values.var((0, 2, 3), unbiased=True)


def assert_holds(norm, values):
    for buffer, expected in zip((norm.running_mean, norm.running_var), population(values), strict=True):
        torch.testing.assert_close(buffer.double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("no_grad")
def test_one_after_the_other_the_statistics_are_those_of_inference():
    net, batches = net_of_two(), data()
    report = recalibrate(net, batches, order="sequential")
    net.eval()
    assert_holds(net.bn1, [net.before_bn1(x) for x in batches])
    assert_holds(net.bn2, [net.before_bn2(x) for x in batches])
    assert (report.passes, [layer.name for layer in report.layers]) == (2, ["bn1", "bn2"])
    # Then nothing is left to change.
    again = recalibrate(net, batches, order="sequential")
    assert max(layer.output_change for layer in again.layers) < 1e-5


@pytest.mark.usefixtures("no_grad")
def test_in_one_pass_the_layers_normalise_by_the_batch():
    net, batches = net_of_two(), data()
    recalibrate(net, batches)
    net.eval()
    assert_holds(net.bn1, [net.before_bn1(x) for x in batches])
    net.bn1.train()
    assert_holds(net.bn2, [net.before_bn2(x) for x in batches])


@pytest.mark.parametrize("order", ["batch", "sequential"])
@pytest.mark.parametrize("write", [True, False])
def test_all_else_stays_as_it_was(order, write):
    net = net_of_two().train()
    net.bn2.eval()
    net.bn1.momentum = None
    before = {name: value.clone() for name, value in net.state_dict().items()}
    recalibrate(net, data(), order=order, write=write)
    statistics = ("bn1.running_mean", "bn1.running_var", "bn2.running_mean", "bn2.running_var")
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]) is not (write and name in statistics), name
    assert [module.training for module in (net, net.bn1, net.bn2, net.drop)] == [True, True, False, True]
    assert not net.bn1._forward_pre_hooks
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("order", ["batch", "sequential"])
def test_what_fails_leaves_the_model_as_it_was(order):
    net = net_of_two()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    bad = data()
    bad[1][0, 0, 0, 0] = float("inf")
    for batches, error in ((bad, RecalibrationError), ([*data(), torch.zeros(2, 1)], RuntimeError)):
        with pytest.raises(error):
            recalibrate(net, batches, order=order)
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
        assert not net.bn1._forward_pre_hooks
        assert net.training


@pytest.mark.usefixtures("no_grad")
def test_a_layer_that_two_places_share_gets_the_values_of_both():
    class Twins(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            return self.bn(self.conv(x)) + self.bn(self.conv(-2 * x))

    net, batches = Twins(), data()
    recalibrate(net, batches, order="sequential")
    assert_holds(net.bn, [net.conv(sign * x) for x in batches for sign in (1, -2)])


@pytest.mark.usefixtures("no_grad")
def test_forms_of_batches():
    x = data(1)[0]
    new = []
    for batch, call in (
        (x, None),
        ((x, "label"), None),
        ([x], None),
        ({"x": x}, None),
        ({"image": x}, lambda model, batch: model(batch["image"])),
    ):
        net = net_of_two()
        recalibrate(net, [batch], call=call)
        new.append(net.bn2.running_var.clone())
    assert all(torch.equal(value, new[0]) for value in new)
    with pytest.raises(ValueError, match="`batches` has an empty tuple for a batch"):
        recalibrate(net_of_two(), [()])


@pytest.mark.usefixtures("no_grad")
def test_layers_of_every_kind():
    cases = [
        (nn.BatchNorm1d(3), torch.randn(9, 3)),
        (nn.BatchNorm1d(3), torch.randn(9, 3, 4)),
        (nn.BatchNorm3d(3), torch.randn(5, 3, 2, 3, 4)),
        (nn.SyncBatchNorm(3), None),
        (nn.BatchNorm2d(3, affine=False, dtype=torch.float64), torch.randn(5, 3, 2, 2, dtype=torch.float64)),
    ]
    for norm, x in cases:
        if x is None:
            norm, x = nn.Sequential(norm).eval(), torch.randn(6, 3, 4)  # evaluates on a CPU, and trains on GPUs alone
            report = recalibrate(norm, [x], order="sequential")
            norm = norm[0]
        else:
            report = recalibrate(norm, [x])
        flat = x.double().movedim(1, -1).reshape(-1, 3)
        torch.testing.assert_close(norm.running_mean.double(), flat.mean(0), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(norm.running_var.double(), flat.var(0), rtol=1e-6, atol=1e-6)
        assert report.layers[0].count == len(flat)


def test_layers_that_are_left_out():
    net = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3, track_running_stats=False), nn.LazyBatchNorm2d())
    report = recalibrate(nn.Sequential(*net[:2]), data())
    assert dict(report.left_out) == {"1": "It keeps no running statistics (track_running_stats=False)."}
    with pytest.raises(ValueError, match="`layers` asks for '2', which is left out: It has no variables before"):
        recalibrate(net, data(), layers="2")
    with pytest.raises(ValueError, match="`model` has no batch-norm layer that can be recalibrated"):
        recalibrate(nn.Linear(3, 3), data())


@pytest.mark.slow
def test_compiled_modules_are_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch's own modules, when it loads its compiler
        compiled = torch.compile(net_of_two())
    with pytest.raises(TypeError, match="`model` is compiled"):
        recalibrate(compiled, data())


def test_a_network_whose_statistics_were_never_updated_is_as_good_as_it_was_trained():
    """Four classes, bright and dark crosses and squares: from chance to what training reached."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    shapes = np.zeros((4, 8, 8), np.float32)
    shapes[0, 3:5], shapes[0, :, 3:5] = 1, 1
    shapes[1, 1:7, 1:7] = 1
    shapes[2], shapes[3] = 1 - shapes[0], 1 - shapes[1]

    def drawn(count):
        labels = rng.integers(4, size=count)
        images = 5 + 3 * (shapes[labels] + rng.normal(0, 0.5, (count, 8, 8)))
        return torch.tensor(images[:, None], dtype=torch.float32), torch.tensor(labels)

    net = nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(128, 4)),
    )
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    batches = [drawn(32) for _ in range(30)]
    for x, y in batches:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    test_x, test_y = drawn(500)

    def accuracy():
        net.eval()
        with torch.no_grad():
            return (net(test_x).argmax(1) == test_y).float().mean().item()

    for norm in (net[1], net[4]):
        norm.reset_running_stats()
    assert accuracy() < 0.5
    for order in ("batch", "sequential"):
        recalibrate(net, batches, order=order)
        assert accuracy() > 0.95


def test_a_call_that_changes_the_mode_is_refused_and_undone():
    net = net_of_two()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ValueError, match="Layer 'bn1' was brought into training mode while the model ran"):
        recalibrate(net, data(), order="sequential", call=lambda net, batch: net.train()(batch))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    # In the order "batch" the layer is in training mode in any case, and another one is not asked for.
    recalibrate(net, data(), layers="bn1", call=lambda net, batch: net.train()(batch))
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"bn1.running_mean", "bn1.running_var"}


def test_modules_whose_layers_cannot_be_listened_to_or_written():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(nn.Sequential(nn.BatchNorm2d(3)))
    with pytest.raises(TypeError, match="`model` is or holds a TorchScript module"):
        recalibrate(scripted, data())
    with torch.inference_mode():
        net = nn.Sequential(nn.BatchNorm2d(3))
    with pytest.raises(ValueError, match=r"made in torch\.inference_mode, outside of which they cannot be written"):
        recalibrate(net, data())
    assert net.training


def test_the_report_has_the_statistics_of_bfloat16():
    norm = nn.BatchNorm2d(3).bfloat16()
    report = recalibrate(norm, [batch.bfloat16() for batch in data()])
    assert report.layers[0].new_mean.tolist() == norm.running_mean.float().tolist()
    assert report.layers[0].new_variance.tolist() == norm.running_var.float().tolist()
