"""``tf1bn doctor``: what tf1bn finds around it, for bug reports, and whether it computes what it should.

Needs nothing but Python: what is broken is what it is asked about. TensorFlow is looked at in another process, so that
one that crashes is reported too.
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
from .._util.command import check_outputs, write_outputs
from .._util.printable import printable

DESCRIPTION = """Print what tf1bn sees of its own build, of TensorFlow, devices, threads and optional packages, for bug
reports, and compute a little that is known beforehand, with the extension and with a layer in TensorFlow.

examples:
  tf1bn doctor
  tf1bn doctor --json doctor.json

exit codes: 0 all well, also where TensorFlow is not installed; 1 something was computed wrong; 2 something is broken;
130 interrupted"""

PACKAGES = {
    "rich": "reports in the terminal",
    "jinja2": "pages in HTML",
    "matplotlib": "plots",
    "h5py": "checkpoints of Keras",
    "safetensors": "checkpoints of PyTorch as .safetensors",
    "torch": "checkpoints of PyTorch as .pt",
    "fissix": "`tf1bn run` of Python 2 scripts",
    "tf_keras": "tf.layers in `tf1bn run`",
    "keras": "nothing in tf1bn; TensorFlow brings it",
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
_LAST = 3  # lines of a broken TensorFlow's own words


def add_arguments(parser):
    """Declare the options of ``tf1bn doctor`` on an argparse parser."""
    parser.add_argument("--json", metavar="FILE", help="write all of it as JSON")


def run(args):
    """Print what is found; returns the exit code."""
    check_outputs({"--json": args.json})
    found = examine()
    print("\n".join(map(printable, lines(found))))
    if args.json is not None:
        text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        write_outputs({"--json": (args.json, text.encode())})
    return 1 if found["wrong"] else 2 if found["broken"] else 0


def examine():
    """All of it as a dict that JSON can hold; ``wrong`` and ``broken`` are lists of sentences, empty if all is well."""
    extension, tensorflow = _extension(), _tensorflow()
    versions = {name: _version(name) for name in PACKAGES}
    wrong = [part["check"] for part in (extension, tensorflow) if part.get("check", OK) != OK]
    broken = [part["problem"] for part in (extension, tensorflow) if part.get("problem")]
    return {
        "format": "tf1bn-doctor",
        "ok": not wrong and not broken,
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


def lines(found):
    """What `examine` found, as lines of text."""
    extension, tensorflow = found["extension"], found["tensorflow"]
    yield f"tf1bn {found['tf1bn']} in {found['folder']}"
    yield f"Python {found['python']} ({found['executable']}), NumPy {found['numpy'] or 'missing'}"
    yield found["platform"]
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
        yield "TensorFlow  not installed: the referee works without it; the layer, `reproduce` and `run` need it"
    else:
        cuda = f"CUDA {tensorflow['cuda']}, cuDNN {tensorflow['cudnn']}" if tensorflow["cuda"] else "no CUDA"
        yield f"TensorFlow  {tensorflow['version']}, built for {cuda}"
        yield f"            a layer's step against the checker: {tensorflow['check']}"
        for device in tensorflow["devices"]:
            yield f"            {device}"
    for name, why in PACKAGES.items():
        yield f"{name:<11} {found['packages'][name] or 'missing: needed for ' + why}"
    for name, value in found["environment"].items():
        yield f"{name}={value}"
    yield ""
    yield from found["wrong"] + found["broken"]
    if found["ok"]:
        yield "All is well."


def _extension():
    result = {"problem": None}
    try:
        native = importlib.import_module("tf1bn._native")
        checker = importlib.import_module("tf1bn.checker")
        parallel = importlib.import_module("tf1bn.checker.threads")
        numpy = importlib.import_module("numpy")
    except Exception as error:
        return {"problem": _home(str(error) or type(error).__name__)}
    result["kernels"] = list(native.moments.variants)
    result["threads"] = parallel.available_cores()
    moments = checker.batch_moments(numpy.array(BATCH, numpy.float32))
    right = moments.mean.tolist() == MEAN and moments.variance.tolist() == VARIANCE
    seen = f"{moments.mean.tolist()} and {moments.variance.tolist()}"
    result["check"] = (
        OK if right else f"The checker's mean and variance of a known batch are {seen}, not {MEAN} and {VARIANCE}."
    )
    return result


def _tensorflow():
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
    words = [_home(line) for line in done.stderr.splitlines() if line.strip()][-_LAST:]
    if done.returncode < 0:
        problem = f"The process that imported TensorFlow was ended by {signal.Signals(-done.returncode).name}."
    else:
        problem = "TensorFlow is installed, and could not be imported and run; its last words are above."
    return {"version": _version("tensorflow"), "problem": problem, "last_words": words}


def main_in_process():
    """Look at TensorFlow in this process and print a line of JSON; for `_tensorflow` alone."""
    import numpy as np
    import tensorflow

    from .. import checker
    from ..layers import contrib_batch_norm
    from ..reproduce import devices as session

    tf = tensorflow.compat.v1
    devices = [device.name.removeprefix("/physical_device:") for device in tensorflow.config.list_physical_devices()]
    found = session.details()
    for gpu in found["devices"]:
        known = f"{gpu['name']}, compute capability {gpu['compute_capability']}, driver {found['driver']}"
        devices[devices.index(gpu["device"])] += f" {known}"
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
    """Without the name of the user's folder."""
    home = os.path.expanduser("~")
    return text.replace(home, "~") if len(home) > 1 else text
