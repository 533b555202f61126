"""The config of a layer object, a dict as ``tf.layers.BatchNormalization.get_config()`` of TF 1.15 gives it."""

import inspect
import warnings

from .. import keras_names

_PLAIN = ("axis", "momentum", "epsilon", "center", "scale")
_PARAMETERS = ("beta", "gamma", "moving_mean", "moving_variance")


def config_of(layer, constraints):
    """The config of a `layer_object.BatchNormalization`; ``constraints``: those of beta and gamma as they were given.

    Raises:
      ValueError: an initializer, regularizer or constraint can neither be named nor has a config.
    """
    config = {"name": layer.name, "trainable": layer.trainable, "dtype": layer.dtype}
    config |= {name: getattr(layer, name) for name in _PLAIN}
    for name in _PARAMETERS:
        value = getattr(layer, f"{name}_initializer")
        if isinstance(value, (str, dict)):
            value = keras_names.initializer(value, f"{name}_initializer", narrow=True)
        config[f"{name}_initializer"] = _serialized(value() if inspect.isclass(value) else value)
    for name in ("beta", "gamma"):
        value = getattr(layer, f"{name}_regularizer")
        config[f"{name}_regularizer"] = keras_names.regularizer_config(value) or _serialized(value)
    for name, value in constraints.items():
        config[f"{name}_constraint"] = keras_names.constraint_config(value) or _serialized(value)
    if layer.renorm:
        config |= {name: getattr(layer, name) for name in ("renorm", "renorm_clipping", "renorm_momentum")}
    if layer.virtual_batch_size is not None:
        config["virtual_batch_size"] = layer.virtual_batch_size
    if layer.adjustment is not None:
        warnings.warn(
            "`adjustment` is a function, which a config does not hold; a layer made from this config has none.",
            stacklevel=3,
        )
    return config


def _serialized(value):
    """What a config has for an initializer, regularizer or constraint."""
    if value is None:
        return None
    if hasattr(value, "get_config"):
        return {"class_name": type(value).__name__, "config": value.get_config()}
    if hasattr(value, "__name__"):
        return value.__name__
    raise ValueError(
        f"Cannot serialize {value!r}; give an initializer, regularizer or constraint with a name or config."
    )
