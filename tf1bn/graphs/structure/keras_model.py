"""The audit of a Keras model by its configuration alone: fixed modes, wrong axes, odd settings."""

from ..._util.text import counted
from ...errors import GraphError
from ...verdicts import ADVISORY, FINDING, OK, cause_entry
from . import setting_rules
from .entries import audit_entry, audit_result, beside

_DEEPEST = 64
_MOST_LAYERS = 2**16
_BATCH_NORM = {"momentum", "epsilon", "center", "scale", "moving_mean_initializer"}
# Layers that keep the layout of what they get.
_KEEP_LAYOUT = ("Activation", "ReLU", "LeakyReLU", "ELU", "PReLU", "Dropout", "BatchNormalization", "GaussianNoise")
_FURTHEST = 16


class _Layer:
    """A batch norm of a configuration, with what `setting_rules.siblings` asks."""

    def __init__(self, name, config, calls, before):
        self.name, self.config, self.calls, self.before = name, config, calls, before
        self.epsilon, self.decay = _number(config.get("epsilon")), ("constant", _number(config.get("momentum")), None)
        axis = config.get("axis")
        axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
        self.axis = axis if type(axis) is int else None
        self.trainable = config.get("trainable") is not False


def audit_config(config, path):
    """The audit of a configuration, see `graphs.audit`.

    Args:
      config: the parsed JSON of a model's configuration; what Keras does not write is ignored.
      path: that of the file.

    Raises:
      GraphError: it is no configuration of a model.
    """
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict):
        raise GraphError(f"The file {path!r} is damaged: its configuration is not that of a Keras model.")
    layers = []
    _collect(config, "", layers, 0)
    siblings = setting_rules.siblings(layers, _READ)
    results = [_judged(layer, siblings.get(layer.name, [])) for layer in layers]
    problems = [] if results else ["The model has no batch norm in its configuration, so nothing was judged."]
    note = (
        f"The configuration of the model has {counted(len(results), 'batch norm')}; it shows how the layers are "
        "called within the model, and not how the model is called."
    )
    nothing_trains = {"trains": False, "train_ops": [], "signatures": [], "folded": []}
    graph = {"form": "a Keras model", "tensorflow": None, "operations": 0, **nothing_trains}
    return audit_result(results, problems, [note], graph)


def _collect(entry, prefix, layers, depth):
    """Add the batch norms of one model's entry."""
    own = entry.get("config") if isinstance(entry, dict) else None
    if not isinstance(own, dict) or depth > _DEEPEST:
        return
    children = [child for child in own.get("layers") or () if isinstance(child, dict)] if _is_list(own) else []
    by_name = {_name(child): child for child in children}
    previous = None
    for child in children:
        name, inner = _name(child), child.get("config") if isinstance(child.get("config"), dict) else {}
        if len(layers) > _MOST_LAYERS:
            return
        if inner.keys() >= _BATCH_NORM:
            before = _before(child, by_name, previous)
            layers.append(_Layer(f"{prefix}{name}", inner, _calls(child), before))
        else:
            _collect(child, f"{prefix}{name}/", layers, depth + 1)
        previous = child if not _calls(child) else previous
    wrapped = own.get("layer")
    if isinstance(wrapped, dict):
        _collect({"config": {"layers": [wrapped]}}, prefix, layers, depth + 1)


def _is_list(own):
    return isinstance(own.get("layers"), list)


def _name(child):
    inner = child.get("config")
    name = child.get("name") or (inner.get("name") if isinstance(inner, dict) else None)
    return str(name)[:1024]


def _calls(child):
    """The keyword arguments of each call of a layer within its model; an empty list in a model without calls."""
    nodes, calls = child.get("inbound_nodes"), []
    for node in nodes if isinstance(nodes, list) else ():
        if isinstance(node, dict):
            calls.append(node.get("kwargs") if isinstance(node.get("kwargs"), dict) else {})
        elif isinstance(node, list):
            # Keras 2: a list of [layer, node, tensor, keyword arguments].
            last = node[0][3] if node and isinstance(node[0], list) and len(node[0]) > 3 else {}
            calls.append(last if isinstance(last, dict) else {})
    return calls


def _sources(child):
    """The names of the layers whose results a layer takes."""
    found, stack = [], [(child.get("inbound_nodes"), 0)]
    while stack and len(found) < _FURTHEST:
        item, depth = stack.pop()
        if depth > _DEEPEST:
            continue
        if isinstance(item, dict):
            history = item.get("keras_history")
            if isinstance(history, list) and history and isinstance(history[0], str):
                found.append(history[0])
            stack += [(value, depth + 1) for value in item.values()]
        elif isinstance(item, list):
            if len(item) >= 3 and isinstance(item[0], str) and type(item[1]) is int:
                found.append(item[0])
            stack += [(value, depth + 1) for value in item]
    return found


def _before(child, by_name, previous):
    """(the data format, the name) of the nearest layer before a batch norm that declares one; or None."""
    for _ in range(_FURTHEST):
        sources = _sources(child)
        if len(set(sources)) > 1:
            return None
        child = by_name.get(sources[0]) if sources else previous
        if not isinstance(child, dict) or not isinstance(child.get("config"), dict):
            return None
        layout = child["config"].get("data_format")
        if layout in ("channels_first", "channels_last"):
            kind = str(child.get("class_name"))
            return (layout, _name(child)) if kind.endswith(("Conv2D", "Conv2DTranspose", "Pooling2D")) else None
        if child.get("class_name") not in _KEEP_LAYOUT or not sources:
            return None
    return None


def _judged(layer, siblings):
    """The dict of a layer."""
    causes = [*_modes(layer), *_settings(layer)]
    causes += beside(causes, siblings)
    causes.sort(key=lambda cause: cause["severity"] != FINDING)
    verdict = FINDING if any(cause["severity"] == FINDING for cause in causes) else OK
    count = max(len(layer.calls), 1)
    modes = [call.get("training") for call in layer.calls] or [None]
    flags = [
        {"kind": "constant" if isinstance(mode, bool) else "argument", "name": "training", "value": _bool(mode)}
        for mode in modes
    ]
    structure = {
        "form": "a layer of a Keras model",
        "made_by": "Keras",
        "frozen": not layer.trainable,
        "axis": layer.axis,
        "data_format": None,
        "epsilon": layer.epsilon,
        "decay": {"kind": "constant", "value": layer.decay[1], "name": None},
        "statistics": {"mean": None, "variance": None},
        "parameters": [],
        "applications": [{"output": layer.name, "is_training": flag} for flag in flags],
        "updates": {"mean": [], "variance": []},
    }
    said = f"epsilon {_shown(layer.epsilon)}, decay {_shown(layer.decay[1])}, axis {layer.axis}"
    said += f", {count} applications" * (count > 1) + ", not trainable" * (not layer.trainable)
    return audit_entry(layer.name, verdict, causes, [], structure, said)


def _modes(layer):
    fixed = [call["training"] for call in layer.calls if isinstance(call.get("training"), bool)]
    if True in fixed:
        yield _entry(
            "batch-stats-at-inference",
            "The model calls it with `training=True`: it normalises by the batches that it is given, in `predict` and "
            "`evaluate` too, and these move its statistics.",
        )
    elif fixed and len(fixed) == len(layer.calls) and layer.trainable:
        yield _entry(
            "training-flag-off",
            "The model calls it with `training=False`: its statistics stay as they are, as where a trained layer is "
            "frozen on purpose, and its gamma and beta are trained.",
            ADVISORY,
        )


def _settings(layer):
    if layer.decay[1] == 1 and layer.trainable:
        yield _entry("frozen", "Its momentum is 1: updates run, and leave the statistics as they are.")
    if layer.decay[1] == 0:
        yield _entry("no-memory", "Its momentum is 0: the statistics are those of the last batch.", ADVISORY)
    if layer.before and layer.axis is not None:
        expected = {"channels_first": 1, "channels_last": 3}[layer.before[0]]
        if layer.axis % 4 != expected:
            yield _entry(
                "wrong-axis",
                f"Its axis is {layer.axis}, and its input comes from `{layer.before[1]}`, which has the channels as "
                f"{layer.before[0]} says: axis {expected}.",
            )


def _entry(name, explanation, severity=FINDING):
    return cause_entry(name, explanation, severity, framework="keras")


_READ = (
    ("epsilon", "Epsilon", lambda layer: layer.epsilon),
    ("decay", "The momentum", lambda layer: layer.decay[1]),
    ("wrong-axis", "The axis", lambda layer: None if layer.axis is None else f"{layer.axis}"),
)


def _number(value):
    return float(value) if type(value) in (int, float) and 0 <= value <= 1 else None


def _bool(value):
    return value if isinstance(value, bool) else None


def _shown(value):
    return "unknown" if value is None else f"{value:.6g}"
