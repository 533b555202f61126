"""Speed and memory of `tf1bn audit` against the checker alone on the same arrays: everything in turn, in one run.

    make bench NAME=audit       exit code 1 if the audit of inputs is below 0.7 of the checker's speed

Builds traces of the 53 batch-norm layers of ResNet-50 (He et al. 2015, arXiv:1512.03385, table 1; NHWC, float32) with
honest statistics in a temporary folder, reads them once, so that the files are in the page cache, and measures

    checker    `batch_moments`, `MovingStats.update` and `compare` for each layer and step, arrays in memory
    diagnose   `diagnosis.diagnose` of the trace
    audit      the command as a process of its own, less the time in which Python imports what it imports
    --html     the same with a page

for a trace of inputs, one of inputs and outputs, and the first with three wrong layers. Speeds are bytes of inputs and
outputs in the trace over the best time; the checker reads the inputs alone, and its speed is that. "of processors" is
the same ratio in the time of processors, of all threads together, which what else runs changes less. "anonymous" is
what the process allocated at most beyond what it held before: RssAnon, which leaves out mapped files.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

from tf1bn import trace
from tf1bn._util import threads as parallel
from tf1bn.checker import MovingStats, batch_moments
from tf1bn.diagnosis import engine as diagnosis

LIMIT = 0.7
DECAY, EPSILON = 0.9, 1e-3
POOL = np.random.default_rng(0).standard_normal(1 << 22, np.float32)
AROUND = ("moving_mean_before", "moving_variance_before", "moving_mean_after", "moving_variance_after")
VECTORS = (*AROUND, "gamma", "beta")
OWN = [f"tf1bn.{name}" for name in ("cli.main", "cli.audit", "reports.audit", "diagnosis", "checkpoints")]
REPORT = f"import {', '.join(OWN)}, rich.console, rich.table"
PAGE = f"{REPORT}, tf1bn.reports.html, jinja2"


def resnet(batch):
    """Name and shape of the inputs of the 53 layers, for images of 224x224."""
    layers = {"conv1": (batch, 112, 112, 64)}
    for stage, (blocks, side, width) in enumerate([(3, 56, 64), (4, 28, 128), (6, 14, 256), (3, 7, 512)], 2):
        for block in range(blocks):
            names = {"a": width, "b": width, "c": 4 * width} | ({"shortcut": 4 * width} if block == 0 else {})
            layers |= {f"conv{stage}_{block}/{name}": (batch, side, side, n) for name, n in names.items()}
    return layers


def honest_moments(x):
    """Mean and variance of [rows, channels] in float32: blocks of rows, then the blocks."""
    blocks = np.array_split(x, max(1, len(x) // 1024))
    mean = np.mean([block.sum(0) for block in blocks], 0, dtype=np.float64) * len(blocks) / len(x)
    mean = mean.astype(np.float32)
    square = np.sum([np.square(block - mean).sum(0) for block in blocks], 0, dtype=np.float64) / len(x)
    return mean, square.astype(np.float32)


def build(folder, shapes, steps, outputs):
    """Write a trace; returns the bytes of its arrays."""
    rng = np.random.default_rng(1)
    (folder / "arrays").mkdir(parents=True)
    state = {name: (np.zeros(shape[-1], np.float32), np.ones(shape[-1], np.float32)) for name, shape in shapes.items()}
    total, lines = 0, []
    for step in range(steps):
        records = {}
        for i, (name, shape) in enumerate(shapes.items()):
            channels = shape[-1]
            x = np.resize(POOL[int(rng.integers(1 << 20)) :], shape)
            x *= rng.uniform(0.5, 2, channels).astype(np.float32)
            x += rng.normal(0, 1, channels).astype(np.float32)
            mean, variance = honest_moments(x.reshape(-1, channels))
            gamma, beta = (rng.uniform(0.5, 1.5, channels).astype(np.float32) for _ in range(2))
            before, rate = state[name], np.float32(1 - DECAY)
            state[name] = tuple(old - (old - new) * rate for old, new in zip(before, (mean, variance), strict=True))
            key = f"arrays/{step}-{i}"
            np.save(folder / f"{key}.npy", np.stack([*before, *state[name], gamma, beta]))
            np.save(folder / f"{key}-in.npy", x)
            records[name] = {vector: f"{key}.npy#{row}" for row, vector in enumerate(VECTORS)}
            records[name]["inputs"] = [f"{key}-in.npy"]
            total += x.nbytes
            if outputs:
                slope = gamma / np.sqrt(variance + np.float32(EPSILON))
                np.save(folder / f"{key}-out.npy", x * slope + (beta - mean * slope))
                records[name]["outputs"] = [f"{key}-out.npy"]
                total += x.nbytes
        lines.append({"step": step, "training": True, "layers": records})
    describe(folder, shapes, lines)
    return total


def describe(folder, shapes, lines):
    settings = {"decay": DECAY, "epsilon": EPSILON, "data_format": "NHWC", "dtype": "float32", "fused": False}
    settings |= {"zero_debias": False, "trainable": True, "release": None}
    head = {"format": "tf1bn-trace", "version": 1, "layers": dict.fromkeys(shapes, settings)}
    (folder / "trace.json").write_text(json.dumps(head))
    (folder / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def spoil(good, folder, shapes, wrong):
    """The same trace, by links, with other statistics in the layers ``wrong``: all of these stay unexplained."""
    (folder / "arrays").mkdir(parents=True)
    for path in (good / "arrays").iterdir():
        os.link(path, folder / "arrays" / path.name)
    lines = [json.loads(line) for line in (good / "steps.jsonl").read_text().splitlines()]
    for line in lines:
        for name in wrong:
            file = folder / line["layers"][name]["moving_mean_before"].partition("#")[0]
            vectors = np.load(file)
            vectors[3] = vectors[1] + np.float32(0.0618) * (vectors[3] - vectors[1]) + np.float32(0.01)
            file.unlink()
            np.save(file, vectors)
    describe(folder, shapes, lines)


def in_memory(path):
    """Name, inputs and statistics of each layer in each step, all in memory."""
    for step in trace.open(path):
        for name, record in step.layers.items():
            yield name, np.array(record.inputs[0]), record.moving_mean_after, record.moving_variance_after


def check(arrays):
    """What a user does who has the arrays: one `MovingStats` for each layer."""
    stats = {}
    for name, x, mean, variance in arrays:
        if name not in stats:
            channels = x.shape[-1]
            stats[name] = MovingStats(np.zeros(channels), np.ones(channels), decay=DECAY)
        stats[name].update(batch_moments(x))
        if not stats[name].compare(mean, variance).ok:
            raise AssertionError(f"The statistics of {name} should be honest.")


def anonymous(process="self"):
    """RssAnon in MB; 0 where there is none."""
    with contextlib.suppress(OSError, StopIteration), open(f"/proc/{process}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1024
    return 0.0


class Peak(threading.Thread):
    """Watches RssAnon of a process, a hundred times a second."""

    def __init__(self, process="self"):
        super().__init__(daemon=True)
        self._process, self._end = process, threading.Event()
        self.value = anonymous(process)
        self.start()

    def run(self):
        while not self._end.wait(0.01):
            self.value = max(self.value, anonymous(self._process))

    def stop(self):
        self._end.set()
        self.join()
        return self.value


def process_seconds(arguments, codes=(0,)):
    """Seconds, those of processors, and peak of RssAnon of a Python process."""
    start, before = time.perf_counter(), os.times()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    peak = Peak(process.pid)
    said = process.communicate()[0]
    seconds, after = time.perf_counter() - start, os.times()
    if process.returncode not in codes:
        raise RuntimeError(said.decode())
    processors = after.children_user + after.children_system - before.children_user - before.children_system
    return np.array([seconds, processors]), peak.stop()


def timed(function):
    """What a function returns, and its seconds and those of processors."""
    start = time.perf_counter(), time.process_time()
    result = function()
    return result, np.array([time.perf_counter() - start[0], time.process_time() - start[1]])


def measure(title, path, size, rounds, arrays, wrong, page):
    """Print the figures of one trace; returns diagnose's speed over the checker's."""
    input_bytes = sum(x.nbytes for _, x, _, _ in arrays)
    best = {name: np.full(2, np.inf) for name in ("checker", "diagnose")}
    used = 0.0
    for _ in range(rounds):
        best["checker"] = np.minimum(best["checker"], timed(lambda: check(arrays))[1])
        before, peak = anonymous(), Peak()
        found, seconds = timed(lambda: diagnosis.diagnose(trace.open(path)))
        best["diagnose"] = np.minimum(best["diagnose"], seconds)
        used = max(used, peak.stop() - before)
    verdicts = [one.verdict for one in found]
    if verdicts.count("finding") != wrong or verdicts.count("ok") != len(verdicts) - wrong:
        raise AssertionError(f"The verdicts are {[(one.name, one.verdict) for one in found if one.verdict != 'ok']}.")
    print(f"{title}: {len(verdicts)} layers, {size / 1e9:.2f} GB")
    print(f"  {'':10} seconds    GB/s  of the checker  of processors  anonymous MB")
    rows = [("checker", best["checker"], 0.0), ("diagnose", best["diagnose"], used)]
    for name, imported, options in (
        ("audit", REPORT, []),
        ("--html", PAGE, ["--html", page]),
    ):
        seconds, most = np.full(2, np.inf), 0.0
        for _ in range(2):
            bare, _ = process_seconds(["-c", imported])
            taken, peak = process_seconds(["-m", "tf1bn", "audit", str(path), *options], (int(wrong > 0),))
            seconds, most = np.minimum(seconds, taken - bare), max(most, peak)
        rows.append((name, seconds, most))
    speeds = input_bytes / best["checker"] / 1e9
    for name, seconds, most in rows:
        speed, of_processors = (input_bytes if name == "checker" else size) / seconds / 1e9
        ratios = f"{speed / speeds[0]:15.2f} {of_processors / speeds[1]:14.2f}"
        print(f"  {name:10} {seconds[0]:7.2f} {speed:7.2f} {ratios} {most:13.0f}", flush=True)
    return size / best["diagnose"][0] / 1e9 / speeds[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32, help="of the trace of inputs; half of it with outputs")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--only", choices=["inputs", "outputs", "wrong"], help="one of the three traces")
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {parallel.available_cores()} cores, best of {arguments.rounds} rounds in turn")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tf1bn-bench-audit-"))
    page = str(folder / "audit.html")
    ratio = None
    try:
        if arguments.only != "outputs":
            shapes = resnet(arguments.batch)
            size = build(folder / "inputs", shapes, arguments.steps, outputs=False)
            arrays = list(in_memory(folder / "inputs"))
            if arguments.only != "wrong":
                ratio = measure("inputs", folder / "inputs", size, arguments.rounds, arrays, 0, page)
            wrong = ["conv2_1/b", "conv3_2/c", "conv5_0/a"]
            spoil(folder / "inputs", folder / "wrong", shapes, wrong)
            if arguments.only != "inputs":
                measure("3 layers wrong", folder / "wrong", size, arguments.rounds, arrays, len(wrong), page)
            del arrays
            shutil.rmtree(folder / "inputs")
            shutil.rmtree(folder / "wrong")
        if arguments.only in (None, "outputs"):
            shapes = resnet(arguments.batch // 2)
            size = build(folder / "outputs", shapes, arguments.steps, outputs=True)
            arrays = list(in_memory(folder / "outputs"))
            measure("inputs and outputs", folder / "outputs", size, arguments.rounds, arrays, 0, page)
    finally:
        shutil.rmtree(folder)
    if ratio is not None and not ratio >= LIMIT:
        sys.exit(f"The audit of inputs ran at {ratio:.2f} of the checker's speed; at least {LIMIT} is wanted.")


if __name__ == "__main__":
    main()
