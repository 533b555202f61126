"""A ``tf.compat.v1.Session`` on the asked-for device, and where its operations really ran."""

import contextlib

import tensorflow as _tf

tf = _tf.compat.v1

# Constants and no-ops are placed for convenience, not where the work is done.
_NOT_WORK = {"Const", "NoOp", "_Arg", "_Retval", "_HostSend", "_HostRecv", "_Send", "_Recv"}


class DeviceUnavailable(RuntimeError):
    """The asked-for device is not there; the message says what was looked for and what TensorFlow found."""


def require(device):
    """Check that TensorFlow sees ``device`` ("auto", "cpu" or "gpu").

    Raises:
      ValueError: ``device`` is none of the three.
      DeviceUnavailable: "gpu" was asked for and TensorFlow lists none.
    """
    if device not in ("auto", "cpu", "gpu"):
        raise ValueError(f"`device` is {device!r}; accepted are 'auto', 'cpu' and 'gpu'.")
    if device == "gpu" and not _tf.config.list_physical_devices("GPU"):
        found = ", ".join(d.name.removeprefix("/physical_device:") for d in _tf.config.list_physical_devices())
        build = _tf.sysconfig.get_build_info()
        if build.get("is_cuda_build"):
            built = f"built for CUDA {build.get('cuda_version', '?')} and cuDNN {build.get('cudnn_version', '?')}"
        else:
            built = "a build without CUDA"
        raise DeviceUnavailable(
            f"device 'gpu' was asked for: looked for a GPU that TensorFlow {_tf.__version__} ({built}) can use, and it "
            f"found only {found or 'no device at all'}. Use --device cpu, or install the NVIDIA driver and "
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


def traced_run(session, fetches, feed_dict, scope):
    """``session.run`` and the devices, such as {"CPU:0"}, on which the operations below ``scope`` ran.

    The devices are read from the partition graphs that this very run executed, not from what was asked for.
    """
    metadata = tf.RunMetadata()
    options = tf.RunOptions(output_partition_graphs=True)
    values = session.run(fetches, feed_dict, options=options, run_metadata=metadata)
    devices = {
        node.device.rpartition("/device:")[2]
        for graph in metadata.partition_graphs
        for node in graph.node
        if node.name.startswith(scope + "/") and node.op not in _NOT_WORK
    }
    return values, devices
