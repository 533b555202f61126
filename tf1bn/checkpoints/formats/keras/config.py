"""What the configuration of a Keras model declares about its batch norms."""

import re

DEEPEST = 64


def declared_batch_norms(config):
    """The settings of each batch norm in a model's configuration.

    Args:
      config: the parsed JSON of the configuration; anything in it that Keras does not write is ignored.

    Returns:
      A dict from the group in which Keras 3 saves the layer's variables ("layers/functional/layers/...") to a dict of
      the layer's "name", "epsilon", "decay", "axis", "scale", "center" and "renorm".
    """
    settings = {}
    _collect(config, "", settings, 0)
    return settings


def _collect(entry, group, settings, depth):
    """Add the settings of the batch norms in one layer's or model's entry, which Keras saves in ``group``."""
    own = entry.get("config") if isinstance(entry, dict) else None
    if not isinstance(own, dict) or depth > DEEPEST:
        return
    if {"momentum", "epsilon", "center", "scale", "moving_mean_initializer"} <= own.keys():
        if setting := _setting(own):
            settings[group] = setting
        return
    prefix = f"{group}/" if group else ""
    if isinstance(own.get("layers"), list):
        used = {}
        for child in own["layers"]:
            if isinstance(child, dict) and isinstance(child.get("class_name"), str):
                kind = _snake_case(child["class_name"])
                used[kind] = used.get(kind, -1) + 1
                name = f"{kind}_{used[kind]}" if used[kind] else kind
                _collect(child, f"{prefix}layers/{name}", settings, depth + 1)
    _collect(own.get("layer"), f"{prefix}layer", settings, depth + 1)


def _setting(own):
    """The part of a batch norm's configuration that matters here, or None if Keras did not write it."""
    if not all(type(own[key]) in (int, float) and 0 <= own[key] <= 1 for key in ("momentum", "epsilon")):
        return None
    axis = own.get("axis")
    return {
        "name": str(own.get("name")),
        "epsilon": float(own["epsilon"]),
        "decay": float(own["momentum"]),
        "axis": axis if isinstance(axis, int) else None,
        "scale": own["scale"] is True,
        "center": own["center"] is True,
        "renorm": own.get("renorm") is True,
    }


def _snake_case(name):
    """The name of a group from that of a class, as Keras makes it: ``MyBN`` is ``my_bn``, ``Conv2D`` ``conv2d``."""
    words = re.sub(r"(?<=.)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", re.sub(r"\W", "", name))
    return words.lower()
