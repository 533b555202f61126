"""Who imports whom: the table below is the whole rule, and every module of the package is held to it."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tf1bn

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "tf1bn"
# A room and the rooms that it may import; docs/design/architecture.md explains the picture.
MAY_IMPORT = {
    "errors": "",
    "remedies": "",
    "verdicts": "remedies",
    "releases": "",
    # It knows the pages of ``reports`` by name alone, and loads them when somebody asks a result for one.
    "results": "_util verdicts errors",
    "_native": "",
    "_util": "errors verdicts",
    "cluster": "_util errors",
    "checker": "binary _native verdicts cluster _util errors",
    "trace": "binary checker cluster _util errors",
    "evidence": "checker _util errors",
    # `diagnose` opens the folder of a trace, so that a user needs no second call; the evidence gets records handed in.
    "diagnosis": "evidence trace checker results _util verdicts errors",
    "ranks": "diagnosis trace results _util errors",
    "variable_names": "",
    "binary": "",
    "graphdef": "variable_names binary _util errors",
    "checkpoints": "graphdef variable_names binary results _util verdicts errors",
    "parity": "graphs diagnosis evidence checkpoints variable_names trace checker results _util verdicts errors",
    "reports": "parity.verdict _util verdicts errors",
    "layers": "releases _util errors",
    "contrib": "layers releases _util errors",
    "graphs": "layers checkpoints graphdef binary results _util verdicts errors",
    "recorders": "graphs graphdef layers trace checker _util errors",
    "recalibration": "recorders graphs graphdef layers checker cluster _util errors",
    "legacy": "contrib recorders layers releases _util errors",
    "reproduce": "layers graphs checker reports releases _util verdicts errors",
    "testing": "parity recorders reports trace checker results _util verdicts errors",
    # Other names of two modules, kept for one release.
    "article": "reproduce",
    "oldscript": "legacy",
}
# The command line and the package itself, which loads its public names when they are used, may import everything.
JOIN = ("cli", "__init__", "__main__")
# The layer, what reads graphs, what records and what runs scripts; elsewhere TensorFlow is never imported ...
WITH_TENSORFLOW = {"layers", "contrib", "graphs", "recorders", "recalibration", "legacy", "reproduce"}
# ... but inside a function of these, where a command starts it, a port is recorded, or an installation is looked at.
LAZILY = {"_util/tensorflow_import.py", "testing/originals.py", "cli/doctor.py"}
# What records a Keras model is loaded beside one.
WITH_KERAS = {"recorders/keras/__init__.py"}
# These name to the user, or pass on to an old script, what nothing here imports.
SPEAK_OF_OTHERS = {
    "diagnosis/observed/wording.py",
    "graphs/structure/layers.py",
    "graphs/structure/update_rules.py",
    "testing/models.py",
    "cli/doctor.py",
    "cli/run.py",
    # What old scripts import is lent to them from tf_slim, if it is installed.
    "contrib/__init__.py",
    "contrib/_lent_names.py",
    "contrib/_names.py",
    "contrib/_slim.py",
    "legacy/explain/names.py",
    "legacy/left_names.py",
    "legacy/runner.py",
    "legacy/tensorflow_module.py",
    "recalibration/__init__.py",
    "recalibration/keras_models.py",
    "remedies.py",
}
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
MODULES = {file: file.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for file in FILES}


def room(module):
    return module.partition(".")[0]


@functools.cache
def nodes_of(file, with_functions):
    found, nodes = [], [ast.parse((PACKAGE / file).read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        found.append(node)
        if with_functions or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            nodes += ast.iter_child_nodes(node)
    return found


def imported(file, with_functions=True):
    """The full names that a file imports; of ``from a import b`` both a and a.b."""
    names = set()
    package = ["tf1bn", *file.split("/")[:-1]]
    for node in nodes_of(file, with_functions):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, *filter(None, [node.module])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return names


def own(file, with_functions=True):
    """The modules of tf1bn that a file imports, without the leading "tf1bn."."""
    known = {f"tf1bn.{name}" for name in MODULES.values()} | {"tf1bn._native._moments"}
    names = imported(file, with_functions)
    found = {name.removeprefix("tf1bn.") for name in names & known}
    return {name for name in found if not any(other.startswith(f"{name}.") for other in found)}


def loads(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(done.stdout.split())


def test_a_module_imports_what_its_room_may():
    wrong = []
    for file, module in MODULES.items():
        here = room(module)
        if here not in JOIN:
            allowed = {here, *MAY_IMPORT[here].split()}
            names = {name for name in own(file) if not any(f"{name}.".startswith(f"{other}.") for other in allowed)}
            wrong += [f"tf1bn/{file} imports {name}; its room may import {sorted(allowed)}" for name in sorted(names)]
    assert not wrong


def test_every_room_is_in_the_table():
    assert {room(module) for module in MODULES.values()} - {*JOIN} == set(MAY_IMPORT)


def cycles(graph):
    """The names that lie on a circle."""
    reached = {name: set(others) for name, others in graph.items()}
    changed = True
    while changed:
        changed = False
        for others in reached.values():
            more = set().union(*(reached.get(other, ()) for other in others)) - others
            changed = changed or bool(more)
            others |= more
    return sorted(name for name, others in reached.items() if name in others)


def test_no_circle_between_files():
    graph = {MODULES[file]: own(file) - {MODULES[file]} for file in FILES}
    assert cycles(graph) == []


def test_no_circle_between_rooms():
    graph = {}
    for file in FILES:
        here = room(MODULES[file])
        if here not in JOIN:
            graph.setdefault(here, set()).update({room(name) for name in own(file)} - {here})
    assert cycles(graph) == []


def test_the_test_sees_a_circle():
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c"]


def test_tensorflow_is_imported_where_it_may():
    without = [file for file in FILES if room(MODULES[file]) not in WITH_TENSORFLOW]
    assert not [
        file
        for file in without
        if any(name.startswith("tensorflow") for name in imported(file, with_functions=file not in LAZILY))
    ]


def test_only_public_api():
    for file in FILES:
        source = (PACKAGE / file).read_text(encoding="utf-8")
        if file not in SPEAK_OF_OTHERS | WITH_KERAS | {"recorders/keras/layers.py"}:
            private = re.search(r"tensorflow\.python|tf_slim|tf_keras|\b(tf|tensorflow|v1|v2)\.keras\b", source)
            assert not private, file
        names = imported(file)
        assert file in WITH_KERAS or not any(name.split(".")[0] in {"keras", "tf_keras", "tf_slim"} for name in names)
        assert not any(name.startswith("tensorflow.") and "compat" not in name for name in names), file


def test_import_loads_nothing_heavy():
    loaded = loads("import sys, tf1bn; print(*sorted({name.partition('.')[0] for name in sys.modules}))")
    assert loaded.isdisjoint({"tensorflow", "keras", "numpy", "matplotlib", "rich", "jinja2", "dask"})


def test_judging_and_the_command_line_import_no_tensorflow():
    loaded = loads(
        "import sys, tf1bn.checker, tf1bn.diagnosis, tf1bn.parity, tf1bn.reports.html, tf1bn.reproduce;"
        "import tf1bn.reproduce.article, tf1bn.releases, tf1bn.trace, tf1bn.checkpoints, tf1bn.testing;"
        "import tf1bn.cli.main, tf1bn.cluster;"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    assert "numpy" in loaded
    assert loaded.isdisjoint({"tensorflow", "keras", "matplotlib", "rich", "jinja2", "dask", "distributed", "fsspec"})


def test_no_module_has_the_name_of_a_public_function():
    functions = {name for name in tf1bn.__all__ if callable(getattr(tf1bn, name))}
    assert not functions & {Path(file).stem for file in FILES if "/" not in file}


def test_version_is_the_one_in_the_changelog():
    assert f"## {tf1bn.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="no attribute 'batchnorm'"):
        tf1bn.batchnorm  # noqa: B018


def test_lazy_names_are_listed_and_found():
    assert set(tf1bn.__all__) <= set(dir(tf1bn))
    for name in tf1bn.__all__:
        assert getattr(tf1bn, name) is not None
