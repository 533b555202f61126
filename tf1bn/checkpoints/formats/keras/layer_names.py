"""The names that the datasets of a Keras file have as variables of layers.

Keras 3 numbers the variables of a layer: gamma, beta, moving_mean, moving_variance, and with renorm moving_stddev,
renorm_mean, renorm_stddev, without those that the layer was built without. The model's configuration says which there
are. Where it is missing (``.weights.h5``) their number says it, except whether a single parameter is gamma or beta.
"""

import dataclasses
import re

from ...._util.text import quoted
from ....variable_names import length, named_like_batch_norm

_NUMBERED = re.compile(r"(?:(?P<layer>.*)/)?vars/(?P<number>0|[1-9]\d{0,5})", re.DOTALL)
# Groups that every model has; the second is that of TensorFlow 2.12 and 2.13.
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
_STATISTICS = ("moving_mean", "moving_variance")
_RENORM = ("moving_stddev", "renorm_mean", "renorm_stddev")
_OTHER = re.compile(r"(?i)(layer|group|unit|spectral|rms|instance)_?norm|optimizer|dense|conv|metric|prelu")


@dataclasses.dataclass
class Naming:
    """The result of `name_variables`.

    Attributes:
      datasets: the path of the dataset that holds a variable, by the variable's name.
      notes: sentences on what was assumed or left out.
      problems: sentences on batch norms that could not be read.
      settings: what the configuration declares about a layer, by the layer's name.
    """

    datasets: dict
    notes: list = dataclasses.field(default_factory=list)
    problems: list = dataclasses.field(default_factory=list)
    settings: dict = dataclasses.field(default_factory=dict)


def name_variables(contents, declared):
    """The `Naming` of a file's datasets.

    Args:
      contents: the file's `hdf5.Contents`.
      declared: settings of batch norms by group; see `config.declared_batch_norms`.
    """
    if any("layer_names" in texts for texts in contents.attributes.values()):
        return _named_by_keras_2(contents, declared)
    numbered, naming = {}, Naming({})
    for dataset, variable in contents.variables.items():
        if match := _NUMBERED.fullmatch(dataset):
            numbered.setdefault(match["layer"] or "", {})[int(match["number"])] = (dataset, variable)
        else:
            naming.datasets[dataset] = dataset
    guessed, undecided = [], []
    for layer, by_number in sorted(numbered.items()):
        given_name = contents.attributes.get(f"{layer}/vars" if layer else "vars", {}).get("name")
        setting = declared.get(layer)
        if layer.split("/")[0] == "optimizer":
            continue
        if setting is None and not _looks_like_batch_norm(layer, given_name):
            if not _may_be_batch_norm(layer, given_name, [variable for _, variable in by_number.values()]):
                continue
            if len(by_number) != 4:
                undecided.append(layer)
                continue
            guessed.append(layer)
        _add_layer(naming, layer, given_name, by_number, setting)
    if guessed:
        naming.notes.append(
            f"{quoted(guessed)} hold four vectors of one length, and were taken for batch norms for that reason alone."
        )
    if undecided:
        naming.notes.append(
            f"{quoted(undecided)} hold vectors of one length and could be batch norms, but nothing says so; not judged."
        )
    return naming


def _add_layer(naming, layer, given_name, by_number, setting):
    """Add the variables of a batch norm; ``by_number`` has (dataset, `Variable`) by the number that Keras gave it."""
    words = _words(setting) if setting else _words_by_number(len(by_number))
    if words is None or len(words) != len(by_number) or max(by_number) != len(by_number) - 1:
        expected = f"{len(words)}" if setting else "2 to 7"
        naming.problems.append(
            f"`{layer}` is a batch norm by its {'configuration' if setting else 'name'}, and its variables are "
            f"number {', '.join(map(str, sorted(by_number)))} where {expected} are expected; it was not judged."
        )
        return
    name = _name_for_readers(layer, given_name, naming.datasets)
    if setting:
        naming.settings[name] = setting
    for number, word in enumerate(words):
        naming.datasets[f"{name}/{word}"] = by_number[number][0]
    if "gamma_or_beta" in words:
        naming.notes.append(
            f"`{name}` has one parameter beside its statistics, and the file does not say whether it is gamma or "
            "beta; the `.keras` file of the model does."
        )


def _words(setting):
    """The names of a layer's variables in their order, from its configuration."""
    parameters = [word for word, key in (("gamma", "scale"), ("beta", "center")) if setting[key]]
    return [*parameters, *_STATISTICS, *(_RENORM if setting["renorm"] else ())]


def _words_by_number(number):
    """The names of a layer's variables in their order, from their number alone; None if no batch norm has so many."""
    renorm = _RENORM if number >= 5 else ()
    parameters = {0: (), 1: ("gamma_or_beta",), 2: ("gamma", "beta")}.get(number - 2 - len(renorm))
    return None if parameters is None else [*parameters, *_STATISTICS, *renorm]


def _looks_like_batch_norm(layer, given_name):
    own = layer.rsplit("/", 1)[-1]
    return any(named_like_batch_norm(name) for name in (own, given_name) if name)


def _may_be_batch_norm(layer, given_name, variables):
    """Whether variables are as a batch norm has them, and no name says that the layer is another."""
    if any(_OTHER.search(name) for name in (layer.rsplit("/", 1)[-1], given_name) if name):
        return False
    lengths = {length(variable.shape) for variable in variables}
    alike = len(lengths) == 1 and None not in lengths and all(v.shape and v.floating for v in variables)
    return alike and 2 <= len(variables) <= 7


def _name_for_readers(layer, given_name, datasets):
    """The layer's name in reports: its place in the model, ending in the name that its author gave it."""
    parts = [part for part in layer.split("/") if part not in _CONTAINERS] or ["(model)"]
    # Names that Keras counts through a process differ from run to run; those of the file's groups do not.
    kinds = ("batch_normalization", re.sub(r"_\d+$", "", parts[-1]))
    counted = given_name is None or re.sub(r"_\d+$", "", given_name) in kinds
    for name in ["/".join(parts) if counted else "/".join([*parts[:-1], given_name]), "/".join(parts), layer]:
        if not any(taken.startswith(f"{name}/") for taken in datasets):
            return name
    return layer


def _named_by_keras_2(contents, declared):
    """The `Naming` of a file of Keras 2, or of Keras 3 in that form: LAYER/[MODEL/...]LAYER/gamma:0."""
    naming = Naming({})
    top = "model_weights/" if "layer_names" in contents.attributes.get("model_weights", {}) else ""
    for dataset in sorted(contents.variables):
        if not dataset.startswith(top) or dataset.startswith("optimizer_weights/"):
            continue
        outer, _, inner = dataset[len(top) :].partition("/")
        name = inner if outer in inner.split("/")[:-1] else f"{outer}/{inner}" if inner else outer
        naming.datasets[name if name not in naming.datasets else dataset] = dataset
    groups = {}
    for group, setting in declared.items():
        groups.setdefault(setting["name"], []).append(group)
    for name in naming.datasets:
        scope = name.rpartition("/")[0]
        of_that_name = groups.get(scope.rpartition("/")[2], [])
        if len(of_that_name) == 1:
            naming.settings[scope] = declared[of_that_name[0]]
    return naming
