"""Initializers, regularizers and constraints by the names that Keras gives them, which TF 1.x's core layer takes.

Each may be None, a function, or such a name; or a dict {"class_name": NAME, "config": {...}}.
"""

import inspect

import numpy as np
import tensorflow as _tf

tf = _tf.compat.v1

# What Keras adds to a norm before it divides by it.
_TINY = 1e-7

_UNIFORM, _NORMAL = tf.random_uniform_initializer, tf.random_normal_initializer
_INITIALIZERS = {
    "zeros": tf.zeros_initializer,
    "ones": tf.ones_initializer,
    "constant": tf.constant_initializer,
    "uniform": _UNIFORM,
    "randomuniform": _UNIFORM,
    "normal": _NORMAL,
    "randomnormal": _NORMAL,
    "truncatednormal": tf.truncated_normal_initializer,
}
# What the names mean without a config, by what they stand for, from TF 1.11 on.
_NARROW = {
    _UNIFORM: {"minval": -0.05, "maxval": 0.05},
    _NORMAL: {"stddev": 0.05},
    tf.truncated_normal_initializer: {"stddev": 0.05},
}

# Functions from a config to the weights of sum|w| and sum(w * w).
_REGULARIZERS = {
    "l1": lambda l=0.01: (l, 0.0),  # noqa: E741
    "l2": lambda l=0.01: (0.0, l),  # noqa: E741
    "l1_l2": lambda l1=0.01, l2=0.01: (l1, l2),
    "L1L2": lambda l1=0.0, l2=0.0: (l1, l2),
}


def initializer(value, argument, narrow):
    """The initializer that a name or dict means.

    Args:
      argument: its name in messages.
      narrow: whether random values lie around 0, as in TF 1.11 and later.

    Raises:
      ValueError: there is no such initializer.
    """
    make, config = _found(_INITIALIZERS, value)
    if make is None:
        raise ValueError(
            f"{unknown('initializer', value)} `{argument}` is {value!r}; it must be an initializer, or one "
            f"of the names {', '.join(_INITIALIZERS)}."
        )
    defaults = _NARROW.get(make, {}) if narrow else {}
    return make(**{**defaults, **config})


def regularizer(value, argument):
    """The function from a variable to its loss that a value means, or None; ``argument`` is its name in messages.

    Raises:
      ValueError: it is none of what this module takes.
    """
    if value is None or callable(value):
        return value
    weights = _l1_and_l2(value)
    if weights is None:
        raise ValueError(
            f"{unknown('regularizer', value)} `{argument}` is {value!r}; it must be a function from a variable to its "
            "loss, or one of the names "
            f"{', '.join(_REGULARIZERS)}."
        )
    absolute, square = weights

    def loss(variable):
        total = 0.0
        if absolute:
            total += absolute * tf.reduce_sum(_tf.abs(variable))
        if square:
            total += square * tf.reduce_sum(_tf.square(variable))
        return total

    return loss


def constraint(value, argument):
    """The function from a variable to its new value that a value means, or None; ``argument``: its name in messages.

    Raises:
      ValueError: it is none of what this module takes.
    """
    if value is None or callable(value):
        return value
    if isinstance(value, str | dict):
        make, config = _found(_CONSTRAINTS, value)
        if make is not None:
            return make(**config)
    raise ValueError(
        f"{unknown('constraint', value)} `{argument}` is {value!r}; it must be a function from a variable to its new "
        "value, or one of the names "
        f"{', '.join(_CONSTRAINTS)}."
    )


def _l1_and_l2(value):
    """The weights of sum|w| and sum(w * w) that the name or dict of a regularizer means; None for an unknown one."""
    wanted = value if isinstance(value, dict) else {"class_name": value}
    return _REGULARIZERS.get(wanted.get("class_name"), lambda **_: None)(**wanted.get("config", {}))


def regularizer_config(value):
    """What TF 1.15's config has for the name or dict of a regularizer; None for anything else."""
    if not isinstance(value, str | dict):
        return None
    l1, l2 = (float(np.float32(weight)) for weight in _l1_and_l2(value))
    return {"class_name": "L1L2", "config": {"l1": l1, "l2": l2}}


def constraint_config(value):
    """What TF 1.15's config has for the name or dict of a constraint; None for anything else."""
    if not isinstance(value, str | dict):
        return None
    make, config = _found(_CONSTRAINTS, value)
    defaults = {name: parameter.default for name, parameter in inspect.signature(make).parameters.items()}
    return {"class_name": _CLASSES[make], "config": defaults | config}


def unknown(kind, value):
    """What Keras said of a value that means no initializer, regularizer or constraint, by which people search."""
    if isinstance(value, str | dict):
        return f"Unknown {kind}: {value.get('class_name') if isinstance(value, dict) else value}."
    return f"Could not interpret {kind} identifier: {value!r}."


def _found(table, value):
    """The entry of a table for a name or dict, or None, and the config of the dict."""
    wanted = value if isinstance(value, dict) else {"class_name": value}
    return table.get(str(wanted.get("class_name")).replace("_", "").lower()), wanted.get("config", {})


def _norm(variable, axis):
    return _tf.sqrt(_tf.reduce_sum(_tf.square(variable), axis, keepdims=True))


def _non_negative():
    return lambda variable: variable * _tf.cast(_tf.greater_equal(variable, 0.0), _tf.float32)


def _unit_norm(axis=0):
    return lambda variable: variable / (_TINY + _norm(variable, axis))


def _max_norm(max_value=2, axis=0):
    def constrain(variable):
        norm = _norm(variable, axis)
        return variable * (_tf.clip_by_value(norm, 0.0, max_value) / (_TINY + norm))

    return constrain


def _min_max_norm(min_value=0.0, max_value=1.0, rate=1.0, axis=0):
    def constrain(variable):
        norm = _norm(variable, axis)
        wanted = rate * _tf.clip_by_value(norm, min_value, max_value) + (1 - rate) * norm
        return variable * (wanted / (_TINY + norm))

    return constrain


_CONSTRAINTS = {"nonneg": _non_negative, "unitnorm": _unit_norm, "maxnorm": _max_norm, "minmaxnorm": _min_max_norm}
_CLASSES = dict(zip(_CONSTRAINTS.values(), ("NonNeg", "UnitNorm", "MaxNorm", "MinMaxNorm"), strict=True))
