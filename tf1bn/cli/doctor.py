"""``tf1bn doctor``: the environment of tf1bn, for bug reports, and whether tf1bn computes known numbers right.

It works even if TensorFlow crashes on import, which it does in a subprocess, and imports nothing else at the top.
"""

import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
from importlib import metadata

from .. import __version__
from .._util.command import STDOUT, check_outputs, write_outputs
from .._util.printable import printable

DESCRIPTION = """Print what a bug report needs: the build of tf1bn, TensorFlow, devices, threads and optional packages.
Checks that the extension and a layer in TensorFlow compute known numbers right.

examples:
  tf1bn doctor
  tf1bn doctor --json doctor.json

exit codes: 0 all well, also where TensorFlow is not installed; 1 something was computed wrong; 2 something is broken;
130 interrupted"""

# Optional packages, and what tf1bn needs them for; None for one that only TensorFlow needs.
PACKAGES = {
    "rich": "reports in the terminal",
    "shtab": "completion in shells",
    "jinja2": "pages in HTML",
    "matplotlib": "plots",
    "h5py": "checkpoints of Keras",
    "safetensors": "checkpoints of PyTorch as .safetensors",
    "torch": "checkpoints of PyTorch as .pt",
    "fissix": "`tf1bn run` of Python 2 scripts",
    "tf_keras": "tf.layers in `tf1bn run`",
    "keras": None,
}
SETTINGS = (
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_USE_LEGACY_KERAS",
    "TF_CPP_MIN_LOG_LEVEL",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "PYTHONPATH",
)
OK = "ok"
# Channels with the means 2, 0 and -3 and the population variances 1, 4 and 0: exact in any order of summation.
BATCH = [[1.0, -2.0, -3.0], [3.0, 2.0, -3.0], [1.0, 2.0, -3.0], [3.0, -2.0, -3.0]]
MEAN, VARIANCE = [2.0, 0.0, -3.0], [1.0, 4.0, 0.0]
_LAST = 3  # lines that a broken TensorFlow wrote to stderr


def add_arguments(parser):
    """Declare the options of ``tf1bn doctor`` on an argparse parser."""
    parser.add_argument("--json", metavar="FILE", help="write all of it as JSON; - for standard output")
    parser.add_argument("--verbose", action="store_true", help="show all that a broken TensorFlow wrote, too")


def run(args):
    """Print the report; returns the exit code."""
    check_outputs({"--json": args.json})
    report = examine(args.verbose)
    if args.json != STDOUT:
        print("\n".join(map(printable, lines(report))))
    if args.json is not None:
        text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        write_outputs({"--json": (args.json, text.encode())})
    return report["exit_code"]


def examine(verbose=False):
    """The report as a dict for JSON; ``wrong`` and ``broken`` are lists of sentences, empty if all is well.

    ``verbose``: whether all lines that a broken TensorFlow wrote are in it, instead of the last.
    """
    extension, tensorflow = _extension(), _tensorflow(None) if verbose else _tensorflow()
    versions = {name: _version(name) for name in PACKAGES}
    wrong = [part["check"] for part in (extension, tensorflow) if part.get("check", OK) != OK]
    broken = [part["problem"] for part in (extension, tensorflow) if part.get("problem")]
    return {
        "format": "tf1bn-doctor",
        "ok": not wrong and not broken,
        "status": "finding" if wrong else "failed" if broken else OK,
        "exit_code": 1 if wrong else 2 if broken else 0,
        "tf1bn": __version__,
        "folder": _home(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
        "python": platform.python_version(),
        "executable": _home(sys.executable or "unknown"),
        "platform": platform.platform(),
        "numpy": _version("numpy"),
        "extension": extension,
        "tensorflow": tensorflow,
        "packages": versions,
        "environment": {name: _home(os.environ[name]) for name in SETTINGS if name in os.environ},
        "wrong": wrong,
        "broken": broken,
    }


def lines(report):
    """The report of `examine` as lines of text."""
    extension, tensorflow = report["extension"], report["tensorflow"]
    yield f"tf1bn {report['tf1bn']} in {report['folder']}"
    yield f"Python {report['python']} ({report['executable']}), NumPy {report['numpy'] or 'missing'}"
    yield report["platform"]
    yield ""
    if extension["problem"]:
        yield f"extension   broken: {extension['problem']}"
    else:
        first, *others = extension["kernels"]
        also = f" (also {', '.join(others)})" if others else ""
        yield f"extension   {first} kernels{also}, {extension['threads']} threads"
        yield f"            a batch with known moments: {extension['check']}"
    if tensorflow["problem"]:
        yield f"TensorFlow  broken: {tensorflow['problem']}"
        yield from (f"            {line}" for line in tensorflow["last_words"])
    elif tensorflow["version"] is None:
        yield "TensorFlow  not installed: the checker works without it; the layer, `reproduce` and `run` need it"
    else:
        cuda = f"CUDA {tensorflow['cuda']}, cuDNN {tensorflow['cudnn']}" if tensorflow["cuda"] else "no CUDA"
        yield f"TensorFlow  {tensorflow['version']}, built for {cuda}"
        yield f"            a layer's step against the checker: {tensorflow['check']}"
        for device in tensorflow["devices"]:
            yield f"            {device}"
    for name, purpose in PACKAGES.items():
        missing = f"missing: needed for {purpose}" if purpose else "missing; tf1bn itself does not need it"
        yield f"{name:<11} {report['packages'][name] or missing}"
    for name, value in report["environment"].items():
        yield f"{name}={value}"
    yield ""
    yield from report["wrong"] + report["broken"]
    if report["ok"]:
        yield "All is well."


def _extension():
    """The kernels and threads of the compiled extension, and whether it computes the moments of `BATCH` right."""
    result = {"problem": None}
    try:
        native = importlib.import_module("tf1bn._native")
        checker = importlib.import_module("tf1bn.checker")
        parallel = importlib.import_module("tf1bn._util.threads")
        numpy = importlib.import_module("numpy")
    except Exception as error:
        return {"problem": _home(str(error) or type(error).__name__)}
    result["kernels"] = list(native.moments.variants)
    result["threads"] = parallel.available_cores()
    moments = checker.batch_moments(numpy.array(BATCH, numpy.float32))
    right = moments.mean.tolist() == MEAN and moments.variance.tolist() == VARIANCE
    computed = f"{moments.mean.tolist()} and {moments.variance.tolist()}"
    result["check"] = (
        OK if right else f"The checker's mean and variance of a known batch are {computed}, not {MEAN} and {VARIANCE}."
    )
    return result


def _tensorflow(last_lines=_LAST):
    """The report on TensorFlow that `main_in_process` prints in a subprocess, or what became of that process."""
    if importlib.util.find_spec("tensorflow") is None:
        return {"version": None, "problem": None}
    code = "from tf1bn.cli import doctor; doctor.main_in_process()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, errors="replace", env=environment
    )
    try:
        if done.returncode == 0:
            return json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        pass
    words = [_home(line) for line in done.stderr.splitlines() if line.strip()]
    words = words[-last_lines:] if last_lines else words
    if done.returncode < 0:
        problem = f"The process that imported TensorFlow was ended by {signal.Signals(-done.returncode).name}."
    else:
        problem = "TensorFlow is installed, and could not be imported and run; the last lines that it wrote are above."
    return {"version": _version("tensorflow"), "problem": problem, "last_words": words}


def main_in_process():
    """Import TensorFlow, run a layer and print a line of JSON about both; `_tensorflow` calls it in a subprocess."""
    import numpy as np
    import tensorflow

    from .. import checker
    from ..layers import contrib_batch_norm
    from ..reproduce.devices import details

    tf = tensorflow.compat.v1
    devices = [device.name.removeprefix("/physical_device:") for device in tensorflow.config.list_physical_devices()]
    gpus = details()
    for gpu in gpus["devices"]:
        description = f"{gpu['name']}, compute capability {gpu['compute_capability']}, driver {gpus['driver']}"
        devices[devices.index(gpu["device"])] += f" {description}"
    batch = np.random.default_rng(1).normal(3, 2, (8, 2, 2, 3)).astype(np.float32)
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, batch.shape)
        y = contrib_batch_norm.batch_norm(x, decay=0.9, updates_collections=None, scope="bn")
        moving = {variable.op.name: variable for variable in tf.global_variables()}
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            sess.run(y, {x: batch})
            mean, variance = (sess.run(moving[f"bn/moving_{name}"]) for name in ("mean", "variance"))
    expected = checker.MovingStats(np.zeros(3), np.ones(3), decay=0.9, bessel=True)
    expected.update(batch)
    comparison = expected.compare(mean, variance)
    build = tensorflow.sysconfig.get_build_info()
    result = {
        "version": tensorflow.__version__,
        "problem": None,
        "cuda": build.get("cuda_version"),
        "cudnn": build.get("cudnn_version"),
        "devices": devices,
        "check": OK if comparison.verdict == OK else f"A layer's statistics after one step are wrong. {comparison}",
    }
    print(json.dumps(result), flush=True)


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _home(text):
    """The text without the name of the user's home folder, which a bug report should not hold."""
    home = os.path.expanduser("~")
    return text.replace(home, "~") if len(home) > 1 else text
