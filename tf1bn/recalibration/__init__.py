"""Moving statistics computed anew from data: what to do when an audit says that they do not fit.

    report = tf1bn.recalibrate(model, loader)                     # a PyTorch module or a Keras model
    report = tf1bn.recalibrate(session, [{x: images, is_training: True} for images in batches])
    print(report)

The moving statistics of a layer are to be those of its inputs over the whole data, the population statistics of Ioffe
and Szegedy's paper (arXiv:1502.03167, algorithm 2). Averages over training steps miss them where the decay does not fit
the number of steps, updates were lost, or the data have changed. `recalibrate` runs the model over batches, merges the
exact moments of every layer's inputs, and writes them in the layer's own convention.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from .._util.validation import boolean, one_of
from ..errors import RecalibrationError
from .engine import ORDERS, recalibrated
from .report import LayerReport, Report

__all__ = ["LayerReport", "RecalibrationError", "Report", "recalibrate"]


def recalibrate(
    model: Any,
    batches: Iterable[Any] | Callable[[], Iterable[Any]],
    *,
    order: str = "batch",
    layers: str | Iterable[str] | None = None,
    call: Callable[[Any, Any], Any] | None = None,
    write: bool = True,
) -> Report:
    """Compute the moving statistics of a model's batch-norm layers anew from data, and write them.

    Args:
      model: a PyTorch module, a Keras model (Keras 3 or tf_keras), or a session of ``tf.compat.v1``.
      batches: the data, an iterable of batches, or a function without arguments that returns one. For a module or a
        model a batch is what `call` takes; for a session it is a feed dict, with the flag of training fed as
        `order` needs it. It is iterated over once for each pass, and must give the same batches each time, in any
        order. Of a `dask.bag.Bag` of batches the workers that compute it run the module or model too, in the order
        "batch"; else they make the batches, which are run here.
      order: "batch": the layers normalise by the batch while the moments are collected, in one pass over the data, as
        in section 3 of Wu and Johnson, "Rethinking 'Batch' in BatchNorm" (arXiv:2105.07576). "sequential": every
        layer normalises by the new statistics of the layers before it, which is what inference will do; it takes a
        pass for each layer of a module or model, and for each level of layers in the graph of a session.
      layers: None for all of them, or the names of those to recalibrate, which may hold "*", or a list of such names.
      call: for a module or model, None or a function from it and a batch that runs it. Without it of a batch that is a
        tuple or list the first item is given, and anything else as it is, but a dict to a PyTorch module as keyword
        arguments. The function leaves the modes of a module as they are.
      write: whether to write the new statistics; False leaves the model as it is, for its report alone.

    Returns:
      A `Report`: for each layer the old and the new statistics, how far they are apart, and the number of values.

    Raises:
      TypeError: `model` is nothing that can be recalibrated, or a batch is of a wrong type.
      ValueError: an argument has no accepted value, there are no batches, or no layer is left.
      RecalibrationError: a batch holds NaN or infinity where a layer sees it, passes differ, or the new statistics do
        not fit the dtype of the old ones.

    Whatever is raised, also by the model, the statistics are those from before. Modes of training, and all that a run
    may change, such as num_batches_tracked, are those from before in any case. The variance that is written is that
    over all N values of a channel, weighted by batch_weights if the layer has them, times N/(N-1) in layers that store
    the unbiased variance: PyTorch's, and the fused ones of TensorFlow 1.4 to 1.15. Layers that several places share
    get the moments over all of these. In the order "sequential" a layer that is applied again to what depends on a
    later layer, as in a recurrent model, has no exact statistics; it gets those under the old statistics of later
    layers. A layer with zero debias keeps the variables from which its next training step computes the moving mean, so
    that training on forgets the new one.
    """
    one_of("order", order, ORDERS)
    boolean("write", write)
    target = _target(model, call)
    return recalibrated(target, batches, order=order, layers=layers, write=write)


def _target(model: Any, call: Callable[[Any, Any], Any] | None) -> Any:
    if call is not None and not callable(call):
        raise TypeError(f"`call` is {call!r}; it must be a function from the model and a batch.")
    # On the backend of PyTorch a Keras model is a module as well.
    if _is_keras(model):
        from .keras_models import KerasModel

        return KerasModel(model, call)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        from .pytorch import TorchModule

        return TorchModule(model, call)
    if callable(getattr(model, "run", None)) and hasattr(model, "graph"):
        from .sessions import Session

        if call is not None:
            raise TypeError(
                "`call` is given, and `model` is a session, whose batches are feed dicts; leave `call` out."
            )
        return Session(model)
    raise TypeError(
        f"`model` is of type {type(model).__name__}; it must be a PyTorch module, a Keras model, or a session of "
        "tf.compat.v1."
    )


def _is_keras(model: Any) -> bool:
    return any(
        parent.__module__.partition(".")[0] in ("keras", "tf_keras") and parent.__name__ == "Layer"
        for parent in type(model).__mro__
    )
