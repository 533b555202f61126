"""The batch-norm layers of a checkpoint, from the names and shapes of its variables; no values are read.

A name that could mean two things is reported and never dropped.
"""

import collections
import dataclasses
import re

from .._util.text import counted, quoted
from ..variable_names import (
    DEVIATIONS,
    MOMENTS,
    MOMENTS_ROLE,
    NO_SCOPE,
    OPTIMIZER,
    ROLES,
    SHADOW,
    STATE,
    STATISTICS,
    STRONG,
    VAGUE,
    family_of,
    length,
    named_like_batch_norm,
    plain_name,
    role_of,
)
from .formats.renaming import plain_names

_CHILD = re.compile(r"(.*)[/.]([^/.]+)", re.DOTALL)
# Last parts of names that are no statistics: other parameters, and what optimizers keep.
_OF_OTHER_LAYERS = re.compile(r"(?i)(w|b|bias(es)?|weights?|kernel|alpha|momentum|m|v|rms\w*|adam\w*)(_\d+)?")


@dataclasses.dataclass(frozen=True)
class Layer:
    """The variables of one layer, by the names that they have in the checkpoint.

    Attributes:
      name: the scope of its variables.
      parts: name of the variable by role: "gamma", "beta", "mean", "variance", or "affine" for one that is gamma or
        beta.
      state: names of its further variables, those of zero-debiasing and of batch renormalisation.
      shadows: by role, the names of the exponential moving averages of its variables.
      unclear: by role, a sentence on variables that could each have that role, so that the layer is undecidable.
      perhaps_instance_norm: whether it may be an instance norm, which has no statistics: it has a scale or an offset as
        such layers do, and no layer of the checkpoint has statistics.
    """

    name: str
    parts: dict[str, str]
    state: tuple[str, ...] = ()
    shadows: dict[str, str] = dataclasses.field(default_factory=dict)
    unclear: dict[str, str] = dataclasses.field(default_factory=dict)
    perhaps_instance_norm: bool = False


def group(variables):
    """The batch-norm layers among the variables of a checkpoint.

    Args:
      variables: a mapping from names to objects with ``shape`` and ``floating``, as `formats.base.Variable`.

    Returns:
      A list of `Layer` in the order of their names, and a list of sentences on what was left out and why.
    """
    notes, layers, unpaired, affine, guessed, deviations = [], [], [], [], [], []
    scopes, shadows, states, moments = _classify(variables, notes)
    children = _children(variables)
    candidates, averages = {scope for scope, roles in scopes.items() if _candidate(scope, roles)}, []
    for scope, role, name in moments:
        home = scopes[_home(scope, candidates)]
        home[role].append((name, "moving_" + role))
        averages += [name] * (not home["gamma"] and not home["beta"])
    for scope, roles in sorted(scopes.items()):
        if not _is_layer(scope, roles, variables):
            unpaired += [name for role in ("mean", "variance") for name, word in roles[role] if word not in VAGUE]
            affine += [scope] * any(word in ("gamma", "beta") for r in ("gamma", "beta") for _, word in roles[r])
            continue
        if not _candidate(scope, roles):
            guessed.append(scope or NO_SCOPE)
        deviations += [name for name, word in roles["variance"] if word in DEVIATIONS]
        layers.append(_with_unknown(_layer(scope, roles, notes), roles, children.get(scope, ()), variables))
    layers = _without_slots(layers, notes)
    layers = [_with_averages(layer, averages, variables) for layer in layers]
    layers = _with_shadows(layers, shadows)
    layers = _with_state(layers, states, notes)
    if not any({"mean", "variance"} & {*layer.parts, *layer.shadows} for layer in layers):
        layers = [dataclasses.replace(layer, perhaps_instance_norm=_scaled(layer)) for layer in layers]
    if unpaired:
        notes.append(f"{quoted(unpaired)} could be statistics of a batch norm, but nothing beside says so; not judged.")
    if guessed:
        notes.append(f"{quoted(guessed)} hold a mean and a variance, and were taken for batch norms for that alone.")
    notes += _said_of_deviations(deviations)
    if affine:
        notes.append(
            f"{counted(len(affine), 'scope')} with gamma or beta, without moving statistics and not named like a batch "
            f"norm ({quoted(affine)}), taken for another normalisation and not judged."
        )
    return layers, notes


def _said_of_deviations(names):
    """Sentences on statistics that may be deviations by their names."""
    # keras/layers/normalization.py of 0.1.0 to 1.0.5, and keras/backend of 1.0.6 to 1.2.2.
    of_keras = [name for name in names if plain_name(name).endswith("running_std")]
    others = [name for name in names if name not in of_keras]
    if of_keras:
        yield (
            f"{quoted(of_keras)}: up to 1.0.5 Keras kept the deviation sqrt(variance + epsilon) under that name, since "
            "1.0.6 the variance; judged as variances."
        )
    if others:
        yield f"{quoted(others)} may hold deviations, by the name; judged as variances."


def _classify(variables, notes):
    """Sort the names of variables by what they mean.

    Returns:
      scopes: by scope and role, (name, word) of each variable, where word is the last part of its name.
      shadows: by scope and role, the name of the exponential moving average of such a variable.
      states: (scope, name) of the state of zero-debiasing and of batch renormalisation.
      moments: (scope, role, name) of moving averages of a hand-written layer's moments.
    """
    scopes = collections.defaultdict(lambda: {role: [] for role in ROLES})
    shadows, states, moments = collections.defaultdict(dict), [], []
    plain_by_name = plain_names(variables)
    for name in sorted(variables):
        plain = plain_by_name[name]
        if plain is None or ".OPTIMIZER_SLOT" in plain:
            continue
        if not variables[name].floating:
            if (named := role_of(plain)) and named[2] in STRONG:
                notes.append(f"`{name}` holds {variables[name].dtype} and no floating-point numbers; not judged.")
            continue
        if match := MOMENTS.fullmatch(plain):
            moments.append((match["scope"] or "", MOMENTS_ROLE[match["what"]], name))
        elif match := SHADOW.fullmatch(plain):
            if averaged := role_of(match["of"]):
                scope, role, _ = averaged
                shadows[scope][role] = name
        elif match := STATE.fullmatch(plain):
            states.append((match["scope"] or "", name))
        elif named := role_of(plain):
            scope, role, word = named
            strong = word in STATISTICS or (word in STRONG and variables[name].shape)
            if strong or (variables[name].shape and length(variables[name].shape) is not None):
                scopes[scope][role].append((name, word))
    return scopes, shadows, states, moments


def _candidate(scope, roles):
    """Whether the name of a scope, or a word in it, means a batch norm."""
    return named_like_batch_norm(scope) or any(word in STRONG for role in ROLES for _, word in roles[role])


def _home(scope, known):
    """The one of the ``known`` scopes that variables of ``scope`` belong to; ``scope`` itself if there is none.

    TF1 names some of them SCOPE/SCOPE/...
    """
    parts = scope.split("/")
    half = "/".join(parts[: len(parts) // 2])
    if scope not in known and parts[: len(parts) // 2] * 2 == parts:
        return half
    for end in range(len(parts), 0, -1):
        if "/".join(parts[:end]) in known:
            return "/".join(parts[:end])
    return scope


def _is_layer(scope, roles, variables):
    """Whether the variables of a scope are those of a batch norm, or could be where nothing else is known."""
    statistics = [(name, word) for role in ("mean", "variance") for name, word in roles[role]]
    affine = [(name, word) for role in ("gamma", "beta") for name, word in roles[role]]
    if roles["mean"] and roles["variance"]:
        return any(word not in VAGUE for _, word in statistics) or _candidate(scope, roles)
    if named_like_batch_norm(scope):
        return bool(statistics) or (bool(affine) and not _is_convolution(scope, roles, variables))
    # A lone scalar may be the moving mean of anything.
    strong = [name for name, word in statistics if word in STATISTICS]
    return bool(strong) and bool(variables[strong[0]].shape or affine)


def _is_convolution(scope, roles, variables):
    """Whether a scope holds a kernel, and no gamma or beta by these names, so that its bias is that of the kernel."""
    if any(word in STRONG for role in ROLES for _, word in roles[role]):
        return False
    ends = [joint + word for joint in "/." for word in ("kernel", "weights", "weight", "w")]
    kernels = (variables.get(f"{scope}{end}{suffix}") for end in ends for suffix in ("", ":0"))
    return any(kernel is not None and len(kernel.shape) > 1 and length(kernel.shape) is None for kernel in kernels)


def _layer(scope, roles, notes):
    """The layer of a scope: for each role the variable named as the statistics' framework does, else the only one."""
    families = {family_of(word) for role in ("mean", "variance") for _, word in roles[role]}
    family = min(families) if families else None
    parts, unclear = {}, {}
    for role in ROLES:
        candidates = roles[role]
        if family in (0, 2):
            # Words that any layer has, such as a convolution in the same scope.
            generic = [name for name, word in candidates if family_of(word) == 1 and role in ("gamma", "beta")]
            candidates = [(name, word) for name, word in candidates if name not in generic]
            if generic:
                notes.append(f"{quoted(generic)} stands beside moving statistics, and was not taken for their {role}.")
        if role in ("gamma", "beta") and len(candidates) > 1:
            same = [(name, word) for name, word in candidates if family_of(word) == family]
            others = [name for name, word in candidates if (name, word) not in same]
            if len(same) == 1:
                notes.append(f"`{same[0][0]}` was taken for the {role} of its layer, and not {quoted(others)}.")
                candidates = same
        if len(candidates) > 1:
            unclear[role] = f"{quoted([name for name, _ in candidates])} could each be the {role} of this layer."
        elif candidates:
            parts[role] = candidates[0][0]
    return Layer(scope or NO_SCOPE, parts, unclear=unclear)


def _children(variables):
    """For each scope the names right below it whose last parts are not those of other layers' parameters."""
    children = collections.defaultdict(list)
    for name in sorted(variables):
        child = _CHILD.fullmatch(plain_name(name))
        if child and child[1] and not _OF_OTHER_LAYERS.fullmatch(child[2]):
            children[child[1]].append(name)
    return children


def _with_unknown(layer, roles, children, variables):
    """The layer; undecidable where statistics are absent and ``children``, vectors of unknown names, could be them."""
    absent = [role for role in ("mean", "variance") if not roles[role]]
    sizes = {length(variables[name].shape) for name in layer.parts.values()}
    if not absent or not children or len(sizes) != 1 or sizes & {None, 0}:
        return layer
    known = {name for pairs in roles.values() for name, _ in pairs}
    unknown = [
        name
        for name in children
        if name not in known and variables[name].floating and variables[name].shape
        if {length(variables[name].shape)} == sizes
    ]
    if not unknown:
        return layer
    what = " and the ".join(f"moving {role}" for role in absent)
    verb = "has" if len(unknown) == 1 else "have"
    text = f"{quoted(unknown)} {verb} the length of {quoted(list(layer.parts.values()))} and a name that is not known, "
    text += f"and may be the {what} of this layer."
    return dataclasses.replace(layer, unclear={**layer.unclear, **dict.fromkeys(absent, text)})


def _with_averages(layer, averages, variables):
    """The layer; undecidable where it has no statistics and some of the ``averages`` of moments could be them."""
    absent = [role for role in ("mean", "variance") if role not in layer.parts]
    sizes = {length(variables[name].shape) for name in layer.parts.values()}
    alike = [name for name in averages if sizes == {length(variables[name].shape)}]
    if len(absent) < 2 or set(absent) & set(layer.unclear) or not layer.parts or not alike:
        return layer
    text = (
        f"{quoted(alike)} are averages of moments with the length of {quoted(list(layer.parts.values()))} in a scope "
        "without gamma and beta, and may be the moving mean and the moving variance of this layer."
    )
    return dataclasses.replace(layer, unclear={**layer.unclear, **dict.fromkeys(absent, text)})


def _without_slots(layers, notes):
    """The layers without what an optimizer keeps under a layer's name, as in Adam/m/net/bn/gamma."""
    complete = {layer.name for layer in layers if "mean" in layer.parts}
    kept, slots = [], []
    for layer in layers:
        is_slot = "mean" not in layer.parts and _is_slot(layer.name.split("/"), complete)
        (slots if is_slot else kept).append(layer.name if is_slot else layer)
    if slots:
        notes.append(f"{quoted(slots)} hold what an optimizer keeps for layers of those names, and were not judged.")
    return kept


def _is_slot(parts, complete):
    """Whether a scope, as its parts, is the name of an optimizer and then that of a ``complete`` layer."""
    first = next((i for i, part in enumerate(parts) if OPTIMIZER.fullmatch(part)), len(parts))
    return any("/".join(parts[i:]) in complete for i in range(first + 1, len(parts)))


def _scaled(layer):
    """Whether all of a layer's parameters are called scale and offset."""
    return bool(layer.parts) and all(family_of(role_of(name)[2]) == 2 for name in layer.parts.values())


def _with_state(layers, states, notes):
    """The layers with their further state, (scope, name) each."""
    names, by_layer = {layer.name for layer in layers}, collections.defaultdict(list)
    for scope, name in states:
        home = _home(scope, names) or NO_SCOPE
        if home in names:
            by_layer[home].append(name)
        else:
            notes.append(f"`{name}` belongs to no layer of this checkpoint, so it was not judged.")
    return [
        dataclasses.replace(layer, state=tuple(by_layer[layer.name])) if layer.name in by_layer else layer
        for layer in layers
    ]


def _with_shadows(layers, shadows):
    """The layers with the averages of their variables; averages without variables make layers of their own."""
    names = {layer.name for layer in layers}
    by_layer, alone = collections.defaultdict(dict), {}
    for scope, averages in shadows.items():
        # Averages that were made inside a scope carry its name in front.
        parts = scope.split("/")
        tails = [tail for i in range(len(parts)) if (tail := "/".join(parts[i:]) or NO_SCOPE) in names]
        if tails:
            by_layer[tails[0]] = {**averages, **by_layer[tails[0]]}
        else:
            alone[scope] = averages
    result = [dataclasses.replace(layer, shadows=by_layer.get(layer.name, {})) for layer in layers]
    for scope, averages in alone.items():
        if named_like_batch_norm(scope) or "mean" in averages or "variance" in averages:
            result.append(Layer(scope or NO_SCOPE, {}, shadows=averages))
    return sorted(result, key=lambda layer: layer.name)
