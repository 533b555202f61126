"""How the time of `tf1bn audit` and `tf1bn parity` of checkpoints grows with the number of layers.

    make bench NAME=growth          exit code 1 if an exponent is above 1.15

Writes .npz files of 5,000 to 40,000 layers to a temporary folder, runs the commands on them in this process, and fits
seconds = a * layers ** exponent to the processor time of the best of some rounds, without Python's start and imports.
The cases are

    audit         moving mean and variance, gamma and beta in each layer
    state         with zero-debiasing's variables, slots of an optimizer and exponential moving averages as well
    same          parity of a checkpoint with itself
    values        parity where no layer keeps its name, and all keep their values
    order         parity where neither names nor values are kept, and a tenth of the layers is missing
    map           parity as in "order" with a map of all names
"""

import argparse
import contextlib
import io
import json
import math
import pathlib
import sys
import tempfile
import time

import numpy as np

from tf1bn.cli import main as cli

LIMIT = 1.15
LAYERS = (5000, 10000, 20000, 40000)
CASES = ("audit", "state", "same", "values", "order", "map")


def layers(count, seed, name, *, affine=True, state=False):
    """Variables by name of ``count`` layers; ``name`` is a function from a number to a scope."""
    rng = np.random.default_rng(seed)
    # As many channels for the layers of every seed, so that an order of layers can be recognised.
    channels = np.random.default_rng(0).integers(2, 9, count)
    variables = {}
    for i in range(count):
        scope, size = name(i), channels[i]
        values = {"moving_mean": rng.random(size), "moving_variance": rng.random(size)}
        if affine:
            values |= {"gamma": rng.random(size), "beta": rng.random(size)}
        for word, array in values.items():
            variables[f"{scope}/{word}"] = array.astype(np.float32)
        if state:
            variables[f"{scope}/moving_mean/biased"] = values["moving_mean"].astype(np.float32)
            variables[f"Adam/m/{scope}/gamma"] = values["gamma"].astype(np.float32)
            variables[f"{scope}/gamma/ExponentialMovingAverage"] = values["gamma"].astype(np.float32)
    return variables


def files(folder, count, wanted):
    """Write the files that the ``wanted`` cases read; returns the arguments of each case by its name."""

    def path(name, variables):
        np.savez(folder / name, **variables)
        return str(folder / f"{name}.npz")

    cases = {}
    old = path("old", layers(count, 1, "net/bn{}".format))
    if "audit" in wanted:
        cases["audit"] = ["audit", old]
    if "state" in wanted:
        # At most 2**18 variables are read.
        cases["state"] = ["audit", path("state", layers(min(count, 2**18 // 7), 1, "net/bn{}".format, state=True))]
    if "same" in wanted:
        cases["same"] = ["parity", old, old]
    if "values" in wanted:
        cases["values"] = ["parity", old, path("renamed", layers(count, 1, "port.norm{}x".format))]
    if "order" in wanted or "map" in wanted:
        others = layers(count, 2, "port.norm{}x".format)
        for i in range(0, count, 10):
            for word in ("moving_mean", "moving_variance", "gamma", "beta"):
                del others[f"port.norm{i}x/{word}"]
        other = path("other", others)
        names = {f"net/bn{i}": f"port.norm{i}x" if i % 10 else None for i in range(count)}
        (folder / "map.json").write_text(json.dumps(names))
        cases["order"] = ["parity", old, other]
        cases["map"] = ["parity", old, other, "--map", str(folder / "map.json")]
    return {name: arguments for name, arguments in cases.items() if name in wanted}


def seconds(arguments, rounds):
    """The least processor time of a command."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            code = cli.main([*arguments, "--quiet"])
        times.append(time.process_time() - start)
        if code == 2 and " layers: " not in output.getvalue():
            raise RuntimeError(output.getvalue())
    return min(times)


def exponent(counts, times):
    """The slope of log(times) over log(counts) by least squares."""
    return float(np.polyfit([math.log(count) for count in counts], [math.log(each) for each in times], 1)[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--layers", type=int, nargs="+", default=LAYERS)
    parser.add_argument("--only", nargs="+", choices=CASES, default=CASES)
    arguments = parser.parse_args()
    times = {}
    for count in arguments.layers:
        with tempfile.TemporaryDirectory(prefix="tf1bn-bench-growth-") as folder:
            for name, command in files(pathlib.Path(folder), count, arguments.only).items():
                times.setdefault(name, []).append(seconds(command, arguments.rounds))
                print(f"{count:>7} layers  {name:<8} {times[name][-1]:8.2f} s", flush=True)
    worst = 0.0
    for name, each in times.items():
        slope = exponent(arguments.layers, each)
        worst = max(worst, slope)
        print(f"{name:<8} exponent {slope:.3f}")
    if not worst <= LIMIT:
        sys.exit(f"The largest exponent is {worst:.3f}; at most {LIMIT} is wanted.")


if __name__ == "__main__":
    main()
