"""Traces of real Flax models on JAX, by `tf1bn.recorders.flax`; test_flax_traces.py audits them without either.

    python tests/golden/record/flax_traces.py                    says what would be written, writes nothing
    python tests/golden/record/flax_traces.py --write            writes flax/ if it is missing
    python tests/golden/record/flax_traces.py --write --force    writes it again

Each trace is of a small model, trained by compiled steps on the CPU, two virtual devices where it says so.
"""

import argparse
import os
import shutil
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "flax"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
STEPS = 3


def write_all(folder):
    """Write every trace below the folder."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from flax import linen, nnx

    from tf1bn.recorders.flax import Recorder, record

    def batches(mean=2.0, shape=(4, 3, 3, 2)):
        rng = np.random.default_rng(0)
        return [jnp.asarray(rng.normal(mean, 1, shape).astype(np.float32)) for _ in range(STEPS)]

    class Linen(linen.Module):
        axis_name: str | None = None
        dtype: str | None = None
        fast: bool = True

        @linen.compact
        def __call__(self, x, train, mask=None):
            arguments = {"momentum": 0.9, "axis_name": self.axis_name, "dtype": self.dtype}
            arguments |= {"use_running_average": not train, "use_fast_variance": self.fast}
            x = linen.BatchNorm(name="first", **arguments)(x, mask=mask)
            x = linen.relu(linen.Dense(3)(x))
            return linen.BatchNorm(name="second", **arguments)(x, mask=mask)

    class Nnx(nnx.Module):
        def __init__(self, rngs, dtype=None):
            self.dense = nnx.Linear(2, 3, rngs=rngs)
            self.norms = nnx.List([nnx.BatchNorm(3, momentum=0.8, dtype=dtype, rngs=rngs) for _ in range(2)])

        def __call__(self, x):
            x = self.dense(x)
            for norm in self.norms:
                x = nnx.relu(norm(x))
            return x

    def linen_model(**arguments):
        model = Linen(**arguments)
        single = Linen(**{**arguments, "axis_name": None})
        return model, single.init(jax.random.key(0), batches()[0], train=True)

    def step_of(model, wrap=jax.jit, axis=None):
        """A training step: new variables from variables and a batch."""

        def loss(params, stats, x, mask=None):
            more = {} if mask is None else {"mask": mask}
            y, new = model.apply(
                {"params": params, "batch_stats": stats}, x, train=True, mutable=["batch_stats"], **more
            )
            return (y.astype(jnp.float32) ** 2).mean(), new["batch_stats"]

        def step(variables, x, mask=None):
            gradients, stats = jax.grad(loss, has_aux=True)(variables["params"], variables["batch_stats"], x, mask)
            if axis is not None:
                gradients = jax.lax.pmean(gradients, axis)
            moved = jax.tree.map(lambda p, g: p - 0.1 * g, variables["params"], gradients)
            return {"params": moved, "batch_stats": stats}

        return wrap(step)

    def by_calls(name, model, variables, mean=2.0, mask=None, forget=False, **settings):
        with record(model, folder / f"{name}.trace", keep="all", **settings):
            step = step_of(model)
            for x in batches(mean):
                new = step(variables, x, mask)
                variables = {**new, "batch_stats": variables["batch_stats"]} if forget else new
            model.apply(variables, x, train=False)

    by_calls("linen", *linen_model())
    by_calls("deviations", *linen_model(fast=False))
    by_calls("far", *linen_model(), mean=1000.0)
    by_calls("bfloat16", *linen_model(dtype="bfloat16"))
    mask = np.random.default_rng(1).random((4, 3, 3, 1)) < 0.6
    by_calls("mask", *linen_model(), mask=mask)
    by_calls("forgotten", *linen_model(), forget=True)

    model, variables = linen_model()
    with Recorder(model, folder / "forgotten_by_hand.trace", keep="all") as recorder:
        step = step_of(model)
        for x in batches():
            new = step(variables, x)
            new = {**new, "batch_stats": variables["batch_stats"]}
            recorder.step(variables, new, x, train=True)
            variables = new

    # Two devices, each with half of the batch; the statistics are those of the whole.
    model, variables = linen_model(axis_name="devices")
    replicated = jax.tree.map(lambda value: jnp.stack([value] * 2), variables)
    with Recorder(model, folder / "devices.trace", keep="all") as recorder:
        step = step_of(model, lambda function: jax.pmap(function, axis_name="devices"), axis="devices")
        for x in batches():
            replicated = step(replicated, x.reshape(2, 2, *x.shape[1:]))
            new = jax.tree.map(lambda value: value[0], replicated)
            recorder.step(variables, new, x, train=True)
            variables = new

    for name, dtype in (("nnx", None), ("nnx_bfloat16", jnp.bfloat16)):
        model = Nnx(nnx.Rngs(0), dtype)

        @nnx.jit
        def train(model, x):
            gradients = nnx.grad(lambda model: (model(x).astype(jnp.float32) ** 2).mean())(model)
            nnx.update(model, jax.tree.map(lambda p, g: p - 0.1 * g, nnx.state(model, nnx.Param), gradients))

        with record(model, folder / f"{name}.trace", keep="all"):
            for x in batches():
                train(model, x)
            model.eval()
            model(x)

    model = Nnx(nnx.Rngs(0))
    with Recorder(model, folder / "nnx_by_hand.trace", keep="moments") as recorder:
        for x in batches():
            before = jax.tree.map(jnp.copy, nnx.state(model))
            train(model, x)
            recorder.step(before, model, x)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--force", action="store_true")
    arguments = parser.parse_args()
    if not arguments.write:
        print(f"would write {FOLDER}; add --write")
    elif FOLDER.exists() and not arguments.force:
        print(f"{FOLDER} is there already; add --force to write it again")
    else:
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir()
        write_all(FOLDER)


if __name__ == "__main__":
    main()
