"""Recording Flax models, linen and nnx, while they run, eager and compiled. Without JAX see test_flax_traces.py."""

import numpy as np
import pytest
from recorded import verdicts

from tf1bn import trace

OK = ("ok", [])
TWICE = ("finding", ["double-update"])  # of a layer that is shared, and applied twice in a step


@pytest.fixture(scope="module")
def flax():
    return pytest.importorskip("flax", reason="Flax is not installed")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.trace"


pytestmark = pytest.mark.slow


def batches(count=3, mean=3.0, shape=(8, 4, 4, 2)):
    import jax.numpy as jnp

    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(mean, 1, shape).astype(np.float32)) for _ in range(count)]


def linen_net(linen):
    class Block(linen.Module):
        @linen.compact
        def __call__(self, x, train):
            x = linen.Dense(3)(x)
            return linen.relu(linen.BatchNorm(use_running_average=not train, momentum=0.9)(x))

    class Net(linen.Module):
        def setup(self):
            self.block = Block()
            self.shared = linen.BatchNorm(momentum=0.8, use_fast_variance=False)

        def __call__(self, x, train):
            x = self.block(x, train)
            x = self.shared(x, use_running_average=not train)
            return self.shared(2 * x + 1, use_running_average=not train)

    return Net()


def linen_step(net):
    import jax

    def loss(params, stats, x):
        y, new = net.apply({"params": params, "batch_stats": stats}, x, True, mutable=["batch_stats"])
        return (y**2).mean(), new["batch_stats"]

    def step(variables, x):
        gradients, stats = jax.grad(loss, has_aux=True)(variables["params"], variables["batch_stats"], x)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, variables["params"], gradients)
        return {"params": params, "batch_stats": stats}

    return step


def nnx_net(nnx):
    class Net(nnx.Module):
        def __init__(self):
            rngs = nnx.Rngs(0)
            self.dense = nnx.Linear(2, 3, rngs=rngs)
            self.norms = nnx.List([nnx.BatchNorm(3, momentum=0.9, rngs=rngs) for _ in range(2)])

        def __call__(self, x):
            x = self.dense(x)
            for norm in self.norms:
                x = nnx.relu(norm(x))
            return x

    return Net()


def train_nnx(model, x):
    import jax
    from flax import nnx

    gradients = nnx.grad(lambda model: (model(x) ** 2).mean())(model)
    nnx.update(model, jax.tree.map(lambda p, g: p - 0.1 * g, nnx.state(model, nnx.Param), gradients))


@pytest.mark.parametrize("compiled", [False, True])
def test_linen(flax, path, compiled):
    import jax
    from flax import linen

    from tf1bn.recorders.flax import record

    net = linen_net(linen)
    with record(net, path, keep="all") as recorder:
        variables = net.init(jax.random.key(0), batches()[0], False)  # is no step
        step = jax.jit(linen_step(net)) if compiled else linen_step(net)
        for x in batches():
            variables = step(variables, x)
        net.apply(variables, x, False)
    assert recorder.steps == 4
    assert verdicts(path) == {"block/BatchNorm_0": OK, "shared": TWICE}
    steps = list(trace.open(path))
    assert [step.training for step in steps] == [True, True, True, False]
    assert steps[0].layers["shared"].applications == 2
    last = steps[-1].layers["block/BatchNorm_0"]
    np.testing.assert_array_equal(
        last.moving_mean_after, np.asarray(variables["batch_stats"]["block"]["BatchNorm_0"]["mean"])
    )


@pytest.mark.parametrize("compiled", [False, True])
def test_nnx(flax, path, compiled):
    from flax import nnx

    from tf1bn.recorders.flax import record

    net = nnx_net(nnx)
    train = nnx.jit(train_nnx) if compiled else train_nnx
    plain = nnx.BatchNorm.__call__
    attributes = set(vars(net.norms[0]))
    train(net, batches()[0])  # what was compiled before is compiled anew
    with record(net, path, keep="all") as recorder:
        for x in batches():
            train(net, x)
        net.eval()
        net(x)
        with pytest.raises(ValueError, match="is being recorded already"):
            record(net, path.with_name("other.trace"))
    net.train()
    train(net, x)
    assert recorder.steps == 4
    assert verdicts(path) == {"norms/0": OK, "norms/1": OK}
    assert [step.training for step in trace.open(path)] == [True, True, True, False]
    # The model and the class are as they were.
    assert set(vars(net.norms[0])) == attributes
    assert nnx.BatchNorm.__call__ is plain


def test_recording_changes_no_bit(flax, path):
    import jax
    from flax import nnx

    from tf1bn.recorders.flax import record

    results = []
    for recorded in (False, True):
        net = nnx_net(nnx)
        train = nnx.jit(train_nnx)
        recorder = record(net, path) if recorded else None
        for x in batches():
            train(net, x)
        if recorded:
            recorder.close()
        results.append([np.asarray(value).tobytes() for value in jax.tree.leaves(nnx.state(net))])
    assert results[0] == results[1]


def test_steps_that_are_told(flax, path):
    import jax
    from flax import linen

    from tf1bn.recorders.flax import Recorder

    net = linen_net(linen)
    variables = net.init(jax.random.key(0), batches()[0], False)
    step = jax.jit(linen_step(net))
    with Recorder(net, path) as recorder:
        for x in batches():
            new = step(variables, x)
            recorder.step(variables, new, x, True)
            variables = new
        with pytest.raises(
            ValueError, match="`after` has no mean and var of block/BatchNorm_0; it must be the variables"
        ):
            recorder.step(variables, {"batch_stats": {}}, x, True)
        recorder.step(variables, variables, x, False)
    assert verdicts(path) == {"block/BatchNorm_0": OK, "shared": TWICE}
    assert [step.training for step in trace.open(path)] == [True, True, True, False]
    with pytest.raises(ValueError, match="has ended"):
        recorder.step(variables, new, x, True)


@pytest.mark.parametrize("compiled", [False, True])
def test_another_momentum_than_asked_for(flax, path, compiled):
    """Flax' momentum is the decay: .1 in PyTorch's sense leaves a tenth of the old value, and is named."""
    from flax import nnx

    from tf1bn.parity.traces.compare import compare_traces
    from tf1bn.recorders.flax import record

    for momentum in (0.9, 0.1):
        net = nnx_net(nnx)
        for norm in net.norms:
            norm.momentum = momentum
        train = nnx.jit(train_nnx) if compiled else train_nnx
        with record(net, path.with_name(f"{momentum}.trace"), keep="all"):
            for x in batches():
                train(net, x)
    result = compare_traces(*(trace.open(path.with_name(f"{momentum}.trace")) for momentum in (0.9, 0.1)))
    assert result["layers"][0]["causes"][0]["id"] == "momentum-flipped"


def test_refusals(flax, path):
    from flax import linen, nnx

    from tf1bn.recorders.flax import record

    with pytest.raises(TypeError, match=r"`model` is of type str; it must be a module of flax\.linen or flax\.nnx"):
        record("model", path)
    with pytest.raises(ValueError, match="without a BatchNorm layer"):
        record(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), path)
    with pytest.raises(ValueError, match="`layers` fits no layer of the model; it has norms/0, norms/1"):
        record(nnx_net(nnx), path, layers="other*")
    reduced = nnx.BatchNorm(2, axis_name="devices", rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="reduces its moments over the axis 'devices'"):
        record(reduced, path)
    assert not path.exists()
    norm = linen.BatchNorm(use_running_average=False, axis_name="devices")
    import jax

    variables = linen.BatchNorm(use_running_average=False).init(jax.random.key(0), batches()[0])
    with record(norm, path), pytest.raises(ValueError, match="record the model by `Recorder` and its `step`"):
        norm.apply(variables, batches()[0], mutable=["batch_stats"])


def test_a_model_that_is_one_layer(flax, path):
    from flax import nnx

    from tf1bn.recorders.flax import record

    norm = nnx.BatchNorm(2, momentum=0.5, rngs=nnx.Rngs(0))
    with record(norm, path):
        for x in batches():
            norm(x)
    assert verdicts(path) == {"BatchNorm": OK}
    assert len(list(trace.open(path))) == 3


def test_means_that_are_large_against_the_deviation(flax, path):
    from flax import nnx

    from tf1bn.recorders.flax import record

    for ratio in (4, 30, 1000):
        for fast in (True, False):
            norm = nnx.BatchNorm(2, momentum=0.9, use_fast_variance=fast, rngs=nnx.Rngs(0))
            with record(norm, path, overwrite=True, keep="all"):
                for x in batches(4, ratio, (64, 2)):
                    norm(x)
            assert trace.open(path).layers["BatchNorm"].variance_from == ("squares" if fast else "deviations")
            assert verdicts(path) == {"BatchNorm": OK}
