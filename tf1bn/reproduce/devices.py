"""Sessions on a given device, and the devices on which their operations really ran."""

import contextlib
import importlib.metadata
import re
import shutil
import subprocess
from typing import NamedTuple

import tensorflow as _tf

from ..errors import DeviceUnavailableError

tf = _tf.compat.v1

# TensorFlow may put constants, no-ops and transfers on any device; they say nothing about where a layer ran.
_NOT_WORK = {"Const", "NoOp", "_Arg", "_Retval", "_HostSend", "_HostRecv", "_Send", "_Recv"}


class Placement(NamedTuple):
    """An operation of a graph that ran: its name, its type, and its device, such as "CPU:0"."""

    name: str
    operation: str
    device: str


def has_gpu():
    """Whether TensorFlow sees a GPU."""
    return bool(_tf.config.list_physical_devices("GPU"))


def require(device):
    """Check that TensorFlow sees ``device`` ("auto", "cpu", "gpu", or "both" the CPU and a GPU).

    Raises:
      ValueError: ``device`` is none of the four.
      DeviceUnavailableError: a GPU was asked for and TensorFlow lists none.
    """
    if device not in ("auto", "cpu", "gpu", "both"):
        raise ValueError(f"`device` is {device!r}; it must be 'auto', 'cpu', 'gpu' or 'both'.")
    if device in ("gpu", "both") and not has_gpu():
        names = ", ".join(d.name.removeprefix("/physical_device:") for d in _tf.config.list_physical_devices())
        build = _tf.sysconfig.get_build_info()
        if build.get("is_cuda_build"):
            built = f"built for CUDA {build.get('cuda_version', '?')} and cuDNN {build.get('cudnn_version', '?')}"
        else:
            built = "a build without CUDA"
        raise DeviceUnavailableError(
            f"device {device!r} was asked for: looked for a GPU that TensorFlow {_tf.__version__} ({built}) can use, "
            f"and it found only {names or 'no device at all'}. Use --device cpu, or install the NVIDIA driver and "
            "tensorflow[and-cuda] and look at TensorFlow's own log with --verbose."
        )


def device_scope(device):
    """Context in which a graph is built for ``device``; "auto" leaves the choice to TensorFlow."""
    return contextlib.nullcontext() if device == "auto" else _tf.device(f"/{device.upper()}:0")


def open_session(device, rewrite=True):
    """A session on the current graph; GPU memory grows as it is needed, and "cpu" registers no GPU.

    The operations, which are small, are run one after the other by the thread that asks for them.

    Args:
      device: "auto", "cpu" or "gpu".
      rewrite: whether TensorFlow's optimizers rewrite graphs before they run.
    """
    config = tf.ConfigProto(allow_soft_placement=True, inter_op_parallelism_threads=-1)
    config.gpu_options.allow_growth = True
    config.graph_options.rewrite_options.disable_meta_optimizer = not rewrite
    if device == "cpu":
        config.device_count["GPU"] = 0
    return tf.Session(config=config)


def run_with_placements(session, fetches, feed_dict, *scopes):
    """What ``session.run`` returns, and where the operations below the name ``scopes`` ran.

    The devices are read from the partition graphs that this run executed, not from what was asked for. Operations
    that TensorFlow's optimizers put in were executed as well, and are among them.

    Returns:
      values: the fetched values.
      placements: a list of `Placement`, sorted by name.
    """
    metadata = tf.RunMetadata()
    options = tf.RunOptions(output_partition_graphs=True)
    values = session.run(fetches, feed_dict, options=options, run_metadata=metadata)
    placements = {
        Placement(node.name, node.op, node.device.rpartition("/device:")[2])
        for graph in metadata.partition_graphs
        for node in graph.node
        if node.name.startswith(tuple(scope + "/" for scope in scopes)) and node.op not in _NOT_WORK
    }
    return values, sorted(placements)


def run_with_devices(session, fetches, feed_dict, scope):
    """As `run_with_placements`, but with the set of the devices, such as {"CPU:0"}, instead of the placements."""
    values, placements = run_with_placements(session, fetches, feed_dict, scope)
    return values, {placement.device for placement in placements}


def details():
    """What the numbers depend on besides TensorFlow's release: the GPUs and their libraries.

    Returns:
      dict with "devices", a list with a dict of "device" ("GPU:0"), "name" and "compute_capability" ("9.0") for each
      GPU; "cuda_version" and "cudnn_version" that TensorFlow was built for; "packages", the versions of NVIDIA's
      installed libraries by their names; "driver", the version of NVIDIA's. What is not known is None.
    """
    build = _tf.sysconfig.get_build_info()
    devices = []
    for gpu in _tf.config.list_physical_devices("GPU"):
        gpu_details = _tf.config.experimental.get_device_details(gpu)
        capability = gpu_details.get("compute_capability")
        devices.append(
            {
                "device": gpu.name.removeprefix("/physical_device:"),
                "name": gpu_details.get("device_name"),
                "compute_capability": None if capability is None else ".".join(str(part) for part in capability),
            }
        )
    return {
        "devices": devices,
        "cuda_version": build.get("cuda_version"),
        "cudnn_version": build.get("cudnn_version"),
        "packages": _packages(),
        "driver": _driver(),
    }


def _packages():
    """Versions of the CUDA runtime and cuDNN that ``tensorflow[and-cuda]`` installs; the build info lacks the patch."""
    versions = {}
    for name in ("nvidia-cudnn", "nvidia-cuda-runtime"):
        for generation in ("", "-cu11", "-cu12", "-cu13"):
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                versions[name + generation] = importlib.metadata.version(name + generation)
    return versions


def _driver(path="/proc/driver/nvidia/version"):
    """The version of NVIDIA's driver, from the kernel module or else from nvidia-smi; None if neither knows it."""
    with contextlib.suppress(OSError):
        with open(path, encoding="utf-8", errors="replace") as file:
            match = re.search(r"Kernel Module.*?\s(\d+\.\d[\d.]*)\s", file.read())
        if match:
            return match[1]
    program = shutil.which("nvidia-smi")
    if program is not None:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
            lines = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split()
            return lines[0] if lines else None
    return None
