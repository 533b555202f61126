"""Constraints on beta and gamma by the names that TF 1.15's core layer takes."""

import tensorflow as _tf

# What Keras adds to a norm before it divides by it.
_TINY = 1e-7


def get(constraint, argument):
    """The function that a constraint means: None, a function, a name, or a dict of class_name and config.

    Raises:
      ValueError: it is none of these.
    """
    if constraint is None or callable(constraint):
        return constraint
    if isinstance(constraint, str | dict):
        wanted = constraint if isinstance(constraint, dict) else {"class_name": constraint}
        made = _NAMED.get(str(wanted.get("class_name")).replace("_", "").lower())
        if made is not None:
            return made(**wanted.get("config", {}))
    raise ValueError(
        f"`{argument}` is {constraint!r}; accepted are a function from a variable to its new value, and the names "
        f"{', '.join(_NAMED)}."
    )


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


_NAMED = {"nonneg": _non_negative, "unitnorm": _unit_norm, "maxnorm": _max_norm, "minmaxnorm": _min_max_norm}
