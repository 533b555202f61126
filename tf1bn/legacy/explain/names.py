"""What becomes of a name of TensorFlow 1.x: it is there, lent, in another package, or gone.

The names of `tf.compat.v1` are those of one release of TensorFlow, in names.json, which
tests/golden/record/tensorflow_names.py made. Modules below ``tensorflow.python`` are looked up in the files of the
installed TensorFlow, which are read and not imported.
"""

import ast
import dataclasses
import functools
import importlib.util
import json
import os
import re

from ... import contrib
from ..before_1_0 import RENAMED
from ..left_names import GONE, renamed
from ..python2_detection import bindings, parsed
from ..tensorflow_module import has_legacy_keras

THERE, LENT, NEEDS, GONE_AWAY, UNKNOWN = "there", "lent", "needs", "gone", "unknown"
# What keeps a script from running, the worst first.
IN_THE_WAY = (GONE_AWAY, NEEDS, UNKNOWN)


@dataclasses.dataclass(frozen=True)
class Fate:
    """What becomes of a name: ``status``, one of the words above, and in ``use`` what to do, or None."""

    status: str
    use: str | None = None


@functools.cache
def table():
    """The names of `tf.compat.v1` by module, and those that TensorFlow 1.15 had besides."""
    with open(os.path.join(os.path.dirname(__file__), "names.json"), encoding="utf-8") as stream:
        content = json.load(stream)
    for kind in ("modules", "gone"):
        content[kind] = {path: set(names.split()) for path, names in content[kind].items()}
    return content


def fate(path):
    """What becomes of the name at ``path`` below ``tensorflow``, such as "contrib.layers.batch_norm"."""
    parts = path.split(".") if path else []
    while parts[:2] == ["compat", "v1"]:
        parts = parts[2:]
    if not parts or parts[0].startswith("__") or parts[0] in ("compat", "VERSION", "raw_ops"):
        return Fate(THERE)
    if parts[0] == "core":
        return _internal(parts)
    if parts[:4] == ["examples", "tutorials", "mnist", "input_data"][: len(parts)]:
        return _of_contrib(["learn", "datasets", "mnist", *parts[4:]])
    if parts[0] == "contrib":
        return _of_contrib(parts[1:])
    if parts[0] == "python":
        return Fate(LENT) if parts[1:3] == ["layers", "normalization"] else _internal(parts)
    if parts[0] in GONE:
        return Fate(GONE_AWAY, GONE[parts[0]])
    found = _public(parts)
    if found.status != THERE:
        return found
    if parts[0] == "layers" and parts[1:2] in (["batch_normalization"], ["BatchNormalization"]):
        return Fate(LENT)
    if len(parts) > 1 and (parts[0] in ("layers", "keras") or parts[:2] == ["nn", "rnn_cell"]):
        return _with_package("tf_keras", THERE)
    return found


def _public(parts):
    """The fate of a name of `tf.compat.v1`; what comes after a class or a function is not looked up."""
    modules, above = table()["modules"], []
    for part in parts:
        path = ".".join(above)
        if f".{part}" in modules[path]:
            above.append(part)
            continue
        if part in modules[path] or part.startswith("__"):
            return Fate(THERE)
        name = ".".join([*above, part])
        if name in RENAMED:
            return Fate(LENT)
        if part in table()["gone"].get(path, ()):
            return Fate(GONE_AWAY, f"`tf.{name}` has left TensorFlow, and tf1bn lends nothing in its place")
        # Version 2 has more in its own namespace, such as `tf.optimizers`.
        return Fate(
            GONE_AWAY,
            f"TensorFlow {table()['before']} has no `tf.{name}`, nor has `tf.compat.v1` of {table()['tensorflow']}",
        )
    return Fate(THERE)


def _with_package(package, status):
    """``status`` if a package is installed, and otherwise that it is needed."""
    installed = has_legacy_keras() if package == "tf_keras" else importlib.util.find_spec(package) is not None
    return Fate(status) if installed else Fate(NEEDS, f"`pip install {package}`, or `tf1bn[legacy]`")


def _of_contrib(parts):
    """The fate of a name below `tf.contrib`."""
    try:
        source = contrib.provider(".".join(parts))
    except AttributeError as error:
        return Fate(GONE_AWAY, str(error).removesuffix("."))
    if source == "tf_slim":
        return _with_package("tf_slim", LENT)
    if source == "tf1bn":
        return Fate(LENT)
    stands_for = fate(source.partition(".")[2])
    return Fate(LENT) if stands_for.status == THERE else stands_for


def _internal(parts):
    """The fate of a name below ``tensorflow.python``, by the files of the installed TensorFlow."""
    package = importlib.util.find_spec("tensorflow")
    if package is None:
        return Fate(UNKNOWN, "TensorFlow is not installed, so its internal modules could not be looked up")
    folder = next(iter(package.submodule_search_locations))
    for number, part in enumerate(parts):
        folder = os.path.join(folder, part)
        if os.path.isdir(folder):
            continue
        file, left = f"{folder}.py", parts[number + 1 :]
        if not os.path.isfile(file):
            file, left = os.path.join(os.path.dirname(folder), "__init__.py"), parts[number:]
        if os.path.isfile(file):
            # What protocol buffers are generated to binds its names when it is imported.
            if not left or file.endswith("_pb2.py") or left[0] in _bound(file) or left[0].startswith("__"):
                return Fate(THERE)
            # `tf1bn run` finds names that were renamed, and names that have moved by the public ones.
            modules = table()["modules"]
            today = renamed(".".join(["tensorflow", *parts[: len(parts) - len(left)]]), left[0])
            if today in _bound(file) or any(today in modules[path] for path in ("", "nn", "train")):
                return Fate(LENT)
        name = ".".join(parts[: number + 1])
        return Fate(GONE_AWAY, f"today's TensorFlow has no `tensorflow.{name}`; find a public name in its place")
    return Fate(THERE)


@functools.cache
def _bound(file):
    """The names that a module's source binds at its top level."""
    with open(file, "rb") as stream:
        source = stream.read()
    if os.path.basename(file).startswith("gen_"):
        # Such modules have up to 15,000 lines of one form.
        return {name.decode() for name in re.findall(rb"^(?:def )?(\w+)(?=\(| =)", source, re.MULTILINE)}
    nodes, found = list(parsed(source, file).body), set()
    while nodes:
        node = nodes.pop()
        found |= set(bindings(node))
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            found |= _generated(node.module)
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            nodes += ast.iter_child_nodes(node)
    return found


def _generated(module):
    """The names of a module of generated operations, such as "tensorflow.python.ops.gen_math_ops"."""
    package, *parts = module.split(".")
    if package != "tensorflow" or not parts[-1].startswith("gen_"):
        return set()
    folder = next(iter(importlib.util.find_spec(package).submodule_search_locations))
    return _bound(os.path.join(folder, *parts) + ".py")
