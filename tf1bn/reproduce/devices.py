"""A ``tf.compat.v1.Session`` on the asked-for device, and where its operations really ran."""

import contextlib
import importlib.metadata
import re
import shutil
import subprocess
from typing import NamedTuple

import tensorflow as _tf

from ..errors import DeviceUnavailableError

tf = _tf.compat.v1

# Constants and no-ops are placed for convenience, not where the work is done.
_NOT_WORK = {"Const", "NoOp", "_Arg", "_Retval", "_HostSend", "_HostRecv", "_Send", "_Recv"}


class Placement(NamedTuple):
    """An operation of a graph that ran: its name, its type, and the device, such as "CPU:0"."""

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
        raise ValueError(f"`device` is {device!r}; accepted are 'auto', 'cpu', 'gpu' and 'both'.")
    if device in ("gpu", "both") and not has_gpu():
        found = ", ".join(d.name.removeprefix("/physical_device:") for d in _tf.config.list_physical_devices())
        build = _tf.sysconfig.get_build_info()
        if build.get("is_cuda_build"):
            built = f"built for CUDA {build.get('cuda_version', '?')} and cuDNN {build.get('cudnn_version', '?')}"
        else:
            built = "a build without CUDA"
        raise DeviceUnavailableError(
            f"device {device!r} was asked for: looked for a GPU that TensorFlow {_tf.__version__} ({built}) can use, "
            f"and it found only {found or 'no device at all'}. Use --device cpu, or install the NVIDIA driver and "
            "tensorflow[and-cuda] and look at TensorFlow's own log with --verbose."
        )


def place(device):
    """Context in which a graph is built for ``device``; "auto" leaves the choice to TensorFlow."""
    return contextlib.nullcontext() if device == "auto" else _tf.device(f"/{device.upper()}:0")


def open_session(device):
    """A session on the current graph; GPU memory grows as it is needed, and "cpu" registers no GPU."""
    config = tf.ConfigProto(allow_soft_placement=True)
    config.gpu_options.allow_growth = True
    if device == "cpu":
        config.device_count["GPU"] = 0
    return tf.Session(config=config)


def placed_run(session, fetches, feed_dict, *scopes):
    """``session.run``, and a `Placement` for each operation below one of the name ``scopes``, sorted by name.

    They are read from the partition graphs that this very run executed, not from what was asked for. Operations that
    TensorFlow's optimizers put in the place of others are those of the run, too.
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


def traced_run(session, fetches, feed_dict, scope):
    """As `placed_run`, and of the placements the devices alone, such as {"CPU:0"}."""
    values, placements = placed_run(session, fetches, feed_dict, scope)
    return values, {placement.device for placement in placements}


def details():
    """What the numbers depend on besides TensorFlow's release: the GPUs and their libraries, as far as they are known.

    Returns:
      dict: "devices", a list of dicts with "device" ("GPU:0"), "name" and "compute_capability" ("9.0"), of the GPUs
      alone; "cuda_version" and "cudnn_version" that TensorFlow was built for; "packages", the installed libraries of
      NVIDIA that are found, with their versions; "driver", that of NVIDIA. What is not known is None.
    """
    build = _tf.sysconfig.get_build_info()
    devices = []
    for gpu in _tf.config.list_physical_devices("GPU"):
        found = _tf.config.experimental.get_device_details(gpu)
        capability = found.get("compute_capability")
        devices.append(
            {
                "device": gpu.name.removeprefix("/physical_device:"),
                "name": found.get("device_name"),
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
    """Versions of the CUDA runtime and of cuDNN that ``tensorflow[and-cuda]`` installs: the build names no patch."""
    found = {}
    for name in ("nvidia-cudnn", "nvidia-cuda-runtime"):
        for generation in ("", "-cu11", "-cu12", "-cu13"):
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found[name + generation] = importlib.metadata.version(name + generation)
    return found


def _driver(path="/proc/driver/nvidia/version"):
    """The version of NVIDIA's driver: the kernel module says it, or else nvidia-smi; None if neither does."""
    with contextlib.suppress(OSError):
        with open(path, encoding="utf-8", errors="replace") as file:
            found = re.search(r"Kernel Module.*?\s(\d+\.\d[\d.]*)\s", file.read())
        if found:
            return found[1]
    program = shutil.which("nvidia-smi")
    if program is not None:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
            lines = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split()
            return lines[0] if lines else None
    return None
