"""Running a port that is a model itself, of PyTorch or Keras, while its recorder writes the trace."""

from __future__ import annotations

import sys

import numpy as np

from ..recorders.limits import Limits


def framework_of(port):
    """ "keras" or "torch" if a port is a model of it, else None. Imports neither: who has a model has imported it."""
    # A Keras model is a module of PyTorch, too, where that is its backend.
    if any(
        kind.__name__ == "Layer" and kind.__module__.partition(".")[0] in ("keras", "tf_keras")
        for kind in type(port).__mro__
    ):
        return "keras"
    torch = sys.modules.get("torch")
    return "torch" if torch is not None and isinstance(port, torch.nn.Module) else None


def record_model(model, batches, flags, path, *, data_format=None, overwrite=True):
    """Run a model on every batch and write its trace.

    Args:
      model: a `torch.nn.Module` or a Keras model.
      batches: list of arrays.
      flags: list of bool, whether each batch trains.
      path: the folder of the trace.
      data_format: that of the model's inputs; None: "NCHW" for PyTorch, else that of the batches.

    Returns:
      list of the output for every batch.
    """
    run = _keras_run if framework_of(model) == "keras" else _torch_run
    return run(model, batches, flags, path, data_format, overwrite)


def _keras_run(model, batches, flags, path, data_format, overwrite):
    from ..recorders.keras.layers import array
    from ..recorders.keras.recorder import KerasRecorder

    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and not tensorflow.compat.v1.executing_eagerly_outside_functions():
        raise ValueError(
            "`port` is a Keras model, and TensorFlow was told to build graphs (`disable_v2_behavior`), in which no "
            "Keras model runs; leave that out, as `original` is built in a graph of its own anyway."
        )
    recorder = KerasRecorder(model, path, Limits("all", max_bytes=None), overwrite=overwrite, quiet=True)
    outputs = []
    with recorder:
        for batch, trains in zip(batches, flags, strict=True):
            batch = _channels_first(batch) if data_format == "NCHW" else batch
            outputs.append(np.array(array(_single(model(batch, training=trains)))))
    return outputs


def _torch_run(model, batches, flags, path, data_format, overwrite):
    import torch

    from ..recorders.torch import recordable
    from ..recorders.torch.layers import array
    from ..recorders.torch.recorder import TorchRecorder

    limits = Limits("all", max_bytes=None)
    module, outputs, mode = recordable(model), [], model.training
    like = next((parameter for parameter in model.parameters() if parameter.is_floating_point()), None)
    with TorchRecorder(module, path, limits, by_forward=True, overwrite=overwrite, quiet=True), torch.no_grad():
        for batch, trains in zip(batches, flags, strict=True):
            batch = batch if data_format == "NHWC" else _channels_first(batch)
            tensor = torch.tensor(np.ascontiguousarray(batch))
            if like is not None:
                tensor = tensor.to(like.device, like.dtype if tensor.is_floating_point() else None)
            model.train(trains)
            outputs.append(np.array(array(_single(model(tensor)))))
    model.train(mode)
    return outputs


def _single(output):
    """The one output that is compared."""
    if isinstance(output, (list, tuple)) and len(output) == 1:
        return output[0]
    if isinstance(output, (list, tuple, dict)):
        raise TypeError(
            f"`port` is a model that returns {len(output)} outputs; give a function (batch, training) that returns one "
            "of them and its layers."
        )
    return output


def _channels_first(batch):
    return np.moveaxis(batch, -1, 1) if batch.ndim > 2 else batch
