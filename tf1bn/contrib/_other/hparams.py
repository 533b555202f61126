"""``tf.contrib.training.HParams`` of TF 1.15: named numbers and strings that keep the types they began with."""

import json
import numbers
import re

# One assignment of a string such as "rate=0.1,sizes=[1,2],sizes[0]=3".
_ASSIGNMENT = re.compile(
    r"(?P<name>[a-zA-Z][\w.]*)(?:\[\s*(?P<index>\d+)\s*\])?\s*=\s*(?:\[(?P<items>[^\]]*)\]|(?P<item>[^,\[]*))(?:$|,\s*)"
)


class HParams:
    """Hyperparameters that are attributes of this object; each keeps the type of its first value.

    Args:
      hparam_def: None; the protocol buffer of 1.15 has left with its package.
      model_structure: any object, kept for `get_model_structure`.
      kwargs: the hyperparameters, each an int, a float, a bool, a string, or a list of one of these.

    Raises:
      ValueError: a name is that of a method, or a list is empty.
    """

    def __init__(self, hparam_def=None, model_structure=None, **kwargs):
        if hparam_def is not None:
            raise ValueError(
                "`hparam_def` is given, and the protocol buffer HParamDef has left with `tf.contrib`; "
                "give the values by name, or use `parse_json`."
            )
        self._hparam_types = {}
        self._model_structure = model_structure
        for name, value in kwargs.items():
            self.add_hparam(name, value)

    def add_hparam(self, name, value):
        """Add a hyperparameter.

        Raises:
          ValueError: there is an attribute of this name, or `value` is an empty list.
        """
        if getattr(self, name, None) is not None:
            raise ValueError(f"Hyperparameter name is reserved: {name}")
        if isinstance(value, (list, tuple)):
            if not value:
                raise ValueError(f"Multi-valued hyperparameters cannot be empty: {name}")
            self._hparam_types[name] = type(value[0]), True
        else:
            self._hparam_types[name] = type(value), False
        setattr(self, name, value)

    def set_hparam(self, name, value):
        """Change a hyperparameter.

        Raises:
          KeyError: there is none of this name.
          ValueError: `value` has another type, or is a list where the hyperparameter is none, or the other way round.
        """
        kind, is_list = self._hparam_types[name]
        if isinstance(value, list) != is_list:
            wanted = "a list for multi-valued" if is_list else "no list for single-valued"
            raise ValueError(f"Must pass {wanted} parameter: {name}")
        setattr(self, name, [_as(kind, name, item) for item in value] if is_list else _as(kind, name, value))

    def del_hparam(self, name):
        """Remove a hyperparameter, if it is there."""
        if hasattr(self, name):
            delattr(self, name)
            del self._hparam_types[name]

    def parse(self, values):
        """Change hyperparameters to what a string says, such as "rate=0.1,sizes=[1,2]"; returns this object.

        Raises:
          ValueError: the string cannot be read, or names what is no hyperparameter.
        """
        kinds = {name: kind for name, (kind, _) in self._hparam_types.items()}
        return self.override_from_dict(parse_values(values, kinds))

    def override_from_dict(self, values_dict):
        """Change hyperparameters to the values of a dict; returns this object; errors as in `set_hparam`."""
        for name, value in values_dict.items():
            self.set_hparam(name, value)
        return self

    set_from_map = override_from_dict

    def parse_json(self, values_json):
        """Change hyperparameters to the values of an object in JSON; returns this object."""
        return self.override_from_dict(json.loads(values_json))

    def to_json(self, indent=None, separators=None, sort_keys=False):
        """The hyperparameters as JSON; the arguments are those of `json.dumps`."""
        return json.dumps(self.values(), indent=indent, separators=separators, sort_keys=sort_keys)

    def values(self):
        """The hyperparameters as a dict."""
        return {name: getattr(self, name) for name in self._hparam_types}

    def get(self, key, default=None):
        """The value of a hyperparameter, or ``default`` if there is none of this name.

        Raises:
          ValueError: ``default`` has not the type of the hyperparameter.
        """
        if key not in self._hparam_types:
            return default
        kind, is_list = self._hparam_types[key]
        if default is not None:
            if isinstance(default, list) != is_list:
                raise ValueError(f"`default` is {default!r}, and the hyperparameter {key!r} is {getattr(self, key)!r}.")
            for item in default if is_list else [default]:
                _as(kind, key, item)
        return getattr(self, key)

    def set_model_structure(self, model_structure):
        self._model_structure = model_structure

    def get_model_structure(self):
        return self._model_structure

    def __contains__(self, key):
        return key in self._hparam_types

    def __str__(self):
        return ",".join(f"{name}={value}" for name, value in self.values().items())

    def __repr__(self):
        return f"{type(self).__name__}({sorted(self.values().items())})"


def parse_values(values, type_map, ignore_unknown=False):
    """The values that a string such as "rate=0.1,sizes=[1,2],sizes[0]=3" gives to names, as a dict.

    Args:
      type_map: dict from names to the types of their values, or of the values in their lists.
      ignore_unknown: whether names without a type are left out.

    Returns:
      A value or a list for each name, and for one with indices a dict from these to values.

    Raises:
      ValueError: the string cannot be read, a name has no type, or gets a value twice.
    """
    parsed, position = {}, 0
    while position < len(values):
        found = _ASSIGNMENT.match(values, position)
        if found is None:
            raise ValueError(f"Malformed hyperparameter value: {values[position:]}")
        position = found.end()
        name, index = found["name"], found["index"]
        if name not in type_map:
            if ignore_unknown:
                continue
            raise ValueError(f"Unknown hyperparameter type for {name}")
        if found["items"] is not None:
            if index is not None:
                raise ValueError("Assignment of a list to a list index.")
            value = [_read(type_map[name], name, item, values) for item in re.split("[ ,]", found["items"]) if item]
        else:
            value = _read(type_map[name], name, found["item"], values)
        target, key = (parsed, name) if index is None else (parsed.setdefault(name, {}), int(index))
        if not isinstance(target, dict) or key in target:
            raise ValueError(f"Multiple assignments to variable {name!r} in {values}")
        target[key] = value
    return parsed


def _read(kind, name, text, values):
    """The value that a text stands for.

    Raises:
      ValueError: it is none of this type.
    """
    try:
        if kind is bool:
            return text in ("true", "True") or (text not in ("false", "False") and bool(int(text)))
        return kind(text)
    except ValueError:
        raise ValueError(
            f"Could not parse hparam {name!r} of type {kind.__name__!r} with value {text!r} in {values}"
        ) from None


def _as(kind, name, value):
    """A value as the type of a hyperparameter: an int may become a float, and nothing else changes its kind.

    Raises:
      ValueError: it has another type.
    """
    if type(value) is kind or issubclass(kind, type(None)):
        return value
    text = (str, bytes)
    fits = (
        (not issubclass(kind, text) or isinstance(value, text))
        and issubclass(kind, bool) == isinstance(value, bool)
        and all(not issubclass(kind, of) or isinstance(value, of) for of in (numbers.Integral, numbers.Number))
    )
    if not fits:
        raise ValueError(f"Could not cast hparam {name!r} of type {kind} from value {value!r}")
    return kind(value)
