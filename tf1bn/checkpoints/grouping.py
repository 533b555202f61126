"""Batch-norm layers out of the names and shapes of a checkpoint's variables. No values are looked at here.

Reached through ``checkpoints``. Names are taken as TF1's graph-level layers, Keras, PyTorch and converted Caffe models
write them; a name that could mean two things is reported and never dropped.
"""

import collections
import dataclasses
import math
import re

from .._util.text import counted, quoted

NO_SCOPE = "(no scope)"
# Each framework's own names, and the role each has in a layer.
FAMILIES = (
    {"gamma": "gamma", "beta": "beta", "mean": "moving_mean", "variance": "moving_variance"},
    {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"},
    {"gamma": "scale", "beta": "offset", "mean": "mean", "variance": "variance"},
)
# "affine": a single parameter of a file that does not say which of the two it is.
ROLES = ("gamma", "beta", "affine", "mean", "variance")
_ROLE_OF = {word: (role, family) for family, words in enumerate(FAMILIES) for role, word in words.items()}
_ROLE_OF |= {"moving_var": ("variance", 0), "running_variance": ("variance", 1), "var": ("variance", 2)}
_ROLE_OF |= {"gamma_or_beta": ("affine", 0)}
_STATISTICS = ("moving_mean", "moving_variance", "moving_var", "running_mean", "running_var", "running_variance")
# Words that mean a batch norm wherever they stand; the others need company.
_STRONG = {*_STATISTICS, "gamma", "beta"}
_NAME = re.compile(rf"(?:(?P<scope>.*)[/.])?(?P<word>{'|'.join(_ROLE_OF)})", re.DOTALL)
_JOINED = re.compile(rf"(?P<scope>.*[^/._])_(?P<word>{'|'.join([*_STATISTICS, 'gamma', 'beta'])})", re.DOTALL)
_STATE = re.compile(
    r"(?:(?P<scope>.*)/)?(?:(?:moving_mean|moving_variance)/(?:biased|local_step)"
    r"|renorm_(?:mean|stddev|variance)(?:_weight)?|moving_stddev)",
    re.DOTALL,
)
_SHADOW = re.compile(r"(?P<of>.+)/(?:ExponentialMovingAverage|EMA|ema)(?:_\d+)?", re.DOTALL)
# The moving averages of tensors of hand-written layers: ExponentialMovingAverage.apply([mean, variance]).
_MOMENTS = re.compile(
    r"(?P<scope>.+)/moments(?:_\d+)?/(?:normalize/)?(?P<what>mean|variance|Squeeze|Squeeze_1)/ExponentialMovingAverage",
    re.DOTALL,
)
_MOMENTS_ROLE = {"mean": "mean", "Squeeze": "mean", "variance": "variance", "Squeeze_1": "variance"}
_OPTIMIZER = re.compile(
    r"(?i)(adam|adamw|adamax|nadam|sgd|momentum|rmsprop|adagrad|adadelta|ftrl|lars|lamb|optimizer|training|slots?)(_\d+)?"
)
_LIKE_BATCH_NORM = re.compile(r"(?i)batch_?norm|(^|[^a-z])bn([^a-z]|$)|bn\d*$")


@dataclasses.dataclass(frozen=True)
class Layer:
    """The variables of one layer, by the names that the checkpoint has for them.

    Attributes:
      name: the scope of its variables.
      parts: variable by role; the roles are "gamma", "beta", "mean" and "variance", and "affine" for one that is gamma
        or beta.
      state: further variables of its own: those of zero-debiasing and of batch renormalisation.
      shadows: by role, the exponential moving averages of its variables.
      unclear: by role, sentences on what could be read in two ways, so that the layer cannot be judged.
    """

    name: str
    parts: dict
    state: tuple = ()
    shadows: dict = dataclasses.field(default_factory=dict)
    unclear: dict = dataclasses.field(default_factory=dict)


def group(variables):
    """The layers among ``variables``, a mapping of names to objects with ``shape`` and ``floating``, and notes.

    Returns:
      A list of `Layer` in the order of their names, and a list of sentences on what was left out and why.
    """
    notes, layers, unpaired, affine, guessed = [], [], [], [], []
    scopes, shadows, states, moments = _classify(variables, notes)
    known = {scope for scope, roles in scopes.items() if _candidate(scope, roles)}
    for scope, role, name in moments:
        scopes[_home(scope, known)][role].append((name, "moving_" + role))
    for scope, roles in sorted(scopes.items()):
        if not _is_layer(scope, roles, variables):
            unpaired += [name for role in ("mean", "variance") for name, _ in roles[role]]
            affine += [scope] * any(word in ("gamma", "beta") for r in ("gamma", "beta") for _, word in roles[r])
            continue
        if not _candidate(scope, roles):
            guessed.append(scope or NO_SCOPE)
        layers.append(_layer(scope, roles, notes))
    layers = _without_slots(layers, notes)
    layers = _with_shadows(layers, shadows)
    names = {layer.name for layer in layers}
    for scope, name in states:
        home = _home(scope, names) or NO_SCOPE
        if home not in names:
            notes.append(f"`{name}` belongs to no layer that was found, so it was not judged.")
            continue
        layers = [
            dataclasses.replace(layer, state=(*layer.state, name)) if layer.name == home else layer for layer in layers
        ]
    if unpaired:
        notes.append(f"{quoted(unpaired)} could be statistics of a batch norm, but nothing beside says so; not judged.")
    if guessed:
        notes.append(f"{quoted(guessed)} hold a mean and a variance, and were taken for batch norms for that alone.")
    if affine:
        notes.append(
            f"{counted(len(affine), 'scope')} with gamma or beta, without moving statistics and not named like a batch "
            f"norm ({quoted(affine)}), taken for another normalisation and not judged."
        )
    return layers, notes


def length(shape):
    """How many channels a vector of ``shape`` has, or None for what is no vector; [1, C, 1, 1] counts as one."""
    wide = [size for size in shape if size != 1]
    return None if len(wide) > 1 else math.prod(shape)


def _plain(name):
    """The name without what ways of saving put behind it."""
    return name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE").removesuffix(":0")


def _classify(variables, notes):
    """Each name's scope and role; the averages, the further state and the averaged moments apart."""
    scopes = collections.defaultdict(lambda: {role: [] for role in ROLES})
    shadows, states, moments = collections.defaultdict(dict), [], []
    for name in sorted(variables):
        plain = _plain(name)
        if ".OPTIMIZER_SLOT" in plain:
            continue
        if not variables[name].floating:
            if (found := role_of(plain)) and found[2] in _STRONG:
                notes.append(f"`{name}` holds {variables[name].dtype} and no floating-point numbers; not judged.")
            continue
        if found := _MOMENTS.fullmatch(plain):
            moments.append((found["scope"], _MOMENTS_ROLE[found["what"]], name))
        elif found := _SHADOW.fullmatch(plain):
            if of := role_of(found["of"]):
                shadows[of[0]][of[1]] = name
        elif found := _STATE.fullmatch(plain):
            states.append((found["scope"] or "", name))
        elif found := role_of(plain):
            scope, role, word = found
            strong = word in _STATISTICS or (word in _STRONG and variables[name].shape)
            if strong or (variables[name].shape and length(variables[name].shape) is not None):
                scopes[scope][role].append((name, word))
    return scopes, shadows, states, moments


def role_of(name):
    """(scope, role, word) of a name, or None. Slots of optimizers end in other words, so they have no role."""
    plain = _plain(name)
    found = _NAME.fullmatch(plain) or _JOINED.fullmatch(plain)
    return found and (found["scope"] or "", _ROLE_OF[found["word"]][0], found["word"])


def named_like_batch_norm(scope):
    return bool(_LIKE_BATCH_NORM.search(re.split(r"[/.]", scope)[-1]))


def _candidate(scope, roles):
    return named_like_batch_norm(scope) or any(word in _STRONG for role in ROLES for _, word in roles[role])


def _home(scope, known):
    """The known scope that variables of ``scope`` belong to: TF1 names some of them SCOPE/SCOPE/..."""
    parts = scope.split("/")
    half = "/".join(parts[: len(parts) // 2])
    if scope not in known and parts[: len(parts) // 2] * 2 == parts:
        return half
    for end in range(len(parts), 0, -1):
        if "/".join(parts[:end]) in known:
            return "/".join(parts[:end])
    return scope


def _is_layer(scope, roles, variables):
    statistics = [(name, word) for role in ("mean", "variance") for name, word in roles[role]]
    affine = [(name, word) for role in ("gamma", "beta") for name, word in roles[role]]
    if roles["mean"] and roles["variance"]:
        return True
    if named_like_batch_norm(scope):
        return bool(statistics or affine)
    # A lone scalar may be the moving mean of anything.
    strong = [name for name, word in statistics if word in _STATISTICS]
    return bool(strong) and bool(variables[strong[0]].shape or affine)


def _layer(scope, roles, notes):
    """The layer of a scope: for each role the name of the statistics' own family, else the only one there is."""
    families = {_ROLE_OF[word][1] for role in ("mean", "variance") for _, word in roles[role]}
    unclear = {}
    own = min(families) if families else None
    parts = {}
    for role in ROLES:
        found = roles[role]
        if own in (0, 2):
            # Words that any layer has, as a convolution in the same scope.
            generic = [name for name, word in found if _ROLE_OF[word][1] == 1 and role in ("gamma", "beta")]
            found = [item for item in found if item[0] not in generic]
            if generic:
                notes.append(f"{quoted(generic)} stands beside moving statistics, and was not taken for their {role}.")
        if role in ("gamma", "beta") and len(found) > 1:
            same = [item for item in found if _ROLE_OF[item[1]][1] == own]
            others = [name for name, _ in found if name not in {name for name, _ in same}]
            if len(same) == 1:
                notes.append(f"`{same[0][0]}` was taken for the {role} of its layer, and not {quoted(others)}.")
                found = same
        if len(found) > 1:
            unclear[role] = f"{quoted([name for name, _ in found])} could each be the {role} of this layer."
        elif found:
            parts[role] = found[0][0]
    return Layer(scope or NO_SCOPE, parts, unclear=unclear)


def _without_slots(layers, notes):
    """The layers without what an optimizer keeps under a layer's name, as in Adam/m/net/bn/gamma."""
    complete = [layer.name for layer in layers if "mean" in layer.parts]
    kept, slots = [], []
    for layer in layers:
        for name in complete if "mean" not in layer.parts else ():
            before = layer.name.removesuffix("/" + name)
            if before != layer.name and any(_OPTIMIZER.fullmatch(part) for part in before.split("/")):
                slots.append(layer.name)
                break
        else:
            kept.append(layer)
    if slots:
        notes.append(f"{quoted(slots)} hold what an optimizer keeps for layers of those names, and were not judged.")
    return kept


def _with_shadows(layers, shadows):
    """The layers with their averages; averages whose variables are absent make layers of their own."""
    names = {layer.name for layer in layers}
    own, alone = collections.defaultdict(dict), {}
    for scope, found in shadows.items():
        # Averages that were made inside a scope carry its name in front.
        parts = scope.split("/")
        tails = [tail for i in range(len(parts)) if (tail := "/".join(parts[i:]) or NO_SCOPE) in names]
        if tails:
            own[tails[0]] = {**found, **own[tails[0]]}
        else:
            alone[scope] = found
    result = [dataclasses.replace(layer, shadows=own.get(layer.name, {})) for layer in layers]
    for scope, found in alone.items():
        if named_like_batch_norm(scope) or "mean" in found or "variance" in found:
            result.append(Layer(scope or NO_SCOPE, {}, shadows=found))
    return sorted(result, key=lambda layer: layer.name)
