"""One simulated batch-norm layer for the examples of docs/causes.md: what it does wrong is a function of a line or two.

    from one_layer import audit_of, move
    audit_of(lambda s, x, t: move(s, x.mean(0), x.var(0, ddof=1)))    # "bessel"

The statistics are pairs s = (moving mean, moving variance) of float32 vectors, a batch x is [rows, channels], and t is
the number of the step.
"""

import tempfile

import numpy as np

from tf1bn import diagnosis, trace

EPSILON = 0.001


def toward(old, new, rate=0.1):
    """One moving average after one update of this rate, 1 - decay."""
    return (old - (old - new) * np.float32(rate)).astype("f")


def move(s, mean, variance, rate=0.1):
    """The statistics after one update of this rate."""
    return toward(s[0], mean, rate), toward(s[1], variance, rate)


def right(s, x, t):
    """The update of a layer that does what it should."""
    return move(s, x.mean(0), x.var(0))


def layer(update=right, *, steps=8, rows=16, channels=3, training=True, start=(0, 1), output=None, **more):
    """A simulated layer: its settings, and for each step its record and whether the step trains.

    Args:
      update: (s, x, t) -> the statistics after step t; x is a list where ``applications`` is above 1.
      training: whether the steps train, or t -> whether step t does; update is called in all of them.
      start: the moving mean and variance before the first step, numbers or vectors.
      output: None, or (x, s, gamma, beta) -> the outputs; s are the batch's own statistics in training.
      more: ``batch``: t -> x; ``between``: (s, t) -> the statistics before the next step; ``gamma``: t -> gamma;
    gamma = more.pop("gamma", lambda t: np.linspace(0.5, 1.5, channels))
    further = more.pop("further", lambda t: {})
    """
    rng = np.random.default_rng(0)
    batch = more.pop("batch", lambda t: rng.normal(2, 3, (rows, channels)))
    between, applications = more.pop("between", lambda s, t: s), more.pop("applications", 1)
    gamma, further = more.pop("gamma", lambda t: np.linspace(0.5, 1.5, channels)), more.pop("further", lambda t: {})
    s = tuple(np.broadcast_to(np.float32(value), channels).copy() for value in start)
    made = []
    for t in range(steps):
        x = [np.asarray(batch(t), "f") for _ in range(applications)]
        trains = training(t) if callable(training) else training
        with np.errstate(all="ignore"):
            after = tuple(np.asarray(value, "f") for value in update(s, x[0] if applications == 1 else x, t))
        record = {"inputs": x, "gamma": np.asarray(gamma(t), "f"), "beta": np.linspace(-1, 1, channels, dtype="f")}
        for when, (mean, variance) in (("before", s), ("after", after)):
            record |= {f"moving_mean_{when}": mean, f"moving_variance_{when}": variance}
        if output:
            used = (x[0].mean(0), x[0].var(0)) if trains else s
            record["outputs"] = [np.asarray(output(x[0], used, record["gamma"], record["beta"]), "f")]
        made.append((record | {"training": trains} | further(t), trains))
        s = between(after, t)
    return {"decay": 0.9, "epsilon": EPSILON, "fused": False} | more, made


def write(path, layers):
    """Write a trace of layers by name, each as `layer` gives it."""
    with trace.Writer(path, overwrite=True) as writer:
        for name, (settings, _) in layers.items():
            writer.add_layer(name, **settings)
        for step in zip(*(made for _, made in layers.values()), strict=True):
            records = {name: record for name, (record, _) in zip(layers, step, strict=True)}
            writer.add_step(records, training=any(trains for _, trains in step))


def normalised(x, s, gamma, beta, epsilon=EPSILON):
    """The outputs of a layer that does what it should."""
    return gamma * (x - s[0]) / np.sqrt(s[1] + np.float32(epsilon)) + beta


def ids(causes):
    """The ids of some causes as text."""
    return ", ".join(causes) or "nothing"


def audit_of(*arguments, **more):
    """What an audit of the trace of one `layer` names, best first; the arguments are those of `layer`."""
    with tempfile.TemporaryDirectory() as folder:
        write(f"{folder}/t", {"bn": layer(*arguments, **more)})
        (result,) = diagnosis.diagnose(f"{folder}/t")
        return ids(cause.id for cause in result.causes)


def audit_of_checkpoint(**variables):
    """What an audit names of a checkpoint with these variables of the layer "bn"."""
    from tf1bn import checkpoints

    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/c.npz", **{f"bn/{name}": value for name, value in variables.items()})
        (found,) = checkpoints.audit_checkpoint(f"{folder}/c.npz")["layers"]
        return ids(cause["id"] for cause in found["causes"])


def parity_of(old, new):
    """What parity of two traces names in any of their layers; each is a dict of `layer`s by name."""
    from tf1bn import parity

    with tempfile.TemporaryDirectory() as folder:
        write(f"{folder}/old", old)
        write(f"{folder}/new", new)
        found = parity.compare_traces(trace.open(f"{folder}/old"), trace.open(f"{folder}/new"), only="training")
    return ids(dict.fromkeys(cause["id"] for one in found["layers"] for cause in one["causes"]))


def variables(name="bn", seed=0, **more):
    """The variables of a trained layer in a checkpoint, by name; ``more`` replaces some or adds others."""
    rng = np.random.default_rng(seed)
    values = {"moving_mean": rng.normal(2, 3, 5), "moving_variance": rng.uniform(1, 9, 5)}
    values |= {"gamma": rng.uniform(0.5, 1.5, 5), "beta": rng.normal(0, 1, 5)}
    return {f"{name}/{key}": np.asarray(value, "f") for key, value in (values | more).items()}


def parity_of_checkpoints(old, new):
    """What parity of two checkpoints names in any of their layers; each is a dict of arrays by name."""
    from tf1bn import parity

    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/old.npz", **old)
        np.savez(f"{folder}/new.npz", **new)
        found = parity.compare_checkpoints(f"{folder}/old.npz", f"{folder}/new.npz")
    return ids(dict.fromkeys(cause["id"] for one in found["layers"] for cause in one["causes"]))
