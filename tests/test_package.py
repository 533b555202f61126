"""What `import tf1bn` costs, who imports whom, and what the package says about itself."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tf1bn

ROOT = Path(__file__).resolve().parents[1]
BASE = {
    "checker",
    "comparison",
    "moments",
    "parallel",
    "weighting",
    "moving",
    "bounds",
    "replay",
    "article",
    "releases",
    "argscope",
    "trace",
    "traceencode",
    "tracefiles",
    "tracelayer",
    "traceread",
    "tracewrite",
}
BASE |= {"_native", "_moments", "_moving", "_replay"}
JUDGE = {
    "conclusions",
    "variantcheck",
    "variantreport",
    "decays",
    "report",
    "files",
    "auditreport",
    "curveplot",
    "curves",
    "htmlreport",
}
JUDGE |= {
    "diagnosis",
    "causes",
    "estimators",
    "findings",
    "hypotheses",
    "linefit",
    "outputfit",
    "search",
    "divergence",
    "inheritance",
    "readahead",
    "somesteps",
    "stepview",
    "survey",
}
JUDGE |= {
    "matching",
    "parity",
    "paritylayer",
    "paritydata",
    "paritypair",
    "parityplaces",
    "parityreport",
    "parityverdict",
    "paritywords",
}
JUDGE |= {"checkpoints", "checkpointfiles", "checkpointlayers", "checkpointcauses"}
JUDGE |= {"checkpointh5", "checkpointkeras", "checkpointtorch", "checkpointtrial"}
JUDGE |= {"checkpointparity", "checkpointmatch", "checkpointdiff", "checkpointreasons", "checkpointside"}
PLAYER = {
    "layer",
    "paths",
    "averages",
    "normalization",
    "training",
    "variables",
    "corelayer",
    "constraints",
    "contrib",
    "session",
    "experiment",
    "variants",
    "applications",
    "graphscan",
    "graphsites",
    "graphview",
    "recorder",
    "runplan",
}
PLAYER |= {"aliases", "contriblayers", "initializers", "modelvariables", "regularizers"}
JOIN = {
    "reproduce",
    "variantgrid",
    "cli",
    "command",
    "options",
    "audit",
    "paritycommand",
    "testing",
    "__main__",
    "__init__",
}
JOIN |= {"doctor", "run", "oldscript", "oldprocess", "oldsource", "oldtensorflow", "oldsessions"}
# These name to the user, or pass on to an old script, what nothing here imports.
SPEAK_OF_OTHERS = {"doctor", "contrib", "run", "oldscript", "oldtensorflow"}
MODULES = sorted(path.stem for path in (ROOT / "tf1bn").glob("*.py"))


def run_python(code, *arguments):
    return subprocess.run(
        [sys.executable, *arguments, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )


def imports(module):
    """Names of modules that ``module`` imports anywhere in its source, own ones as ".name"."""
    return imported_by(ast.walk(tree(module)))


def imports_at_the_top(module):
    """The names that are imported with ``module``, not in a function of it."""
    found, nodes = [], [tree(module)]
    while nodes:
        node = nodes.pop()
        found.append(node)
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            nodes += ast.iter_child_nodes(node)
    return imported_by(found)


def tree(module):
    return ast.parse((ROOT / "tf1bn" / f"{module}.py").read_text(encoding="utf-8"))


def imported_by(nodes):
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            found |= {f".{node.module}"} if node.module else {f".{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module}
    return found


def test_import_loads_nothing_heavy():
    code = "import sys, tf1bn; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = set(run_python(code).stdout.split())
    assert loaded.isdisjoint({"tensorflow", "keras", "numpy", "matplotlib", "rich", "jinja2"})


def test_the_referee_and_the_command_line_import_no_tensorflow():
    code = (
        "import sys, tf1bn.checker, tf1bn.conclusions, tf1bn.report, tf1bn.htmlreport;"
        "import tf1bn.article, tf1bn.releases, tf1bn.trace, tf1bn.checkpoints;"
        "import tf1bn.cli;"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    loaded = set(run_python(code).stdout.split())
    assert "numpy" in loaded
    assert loaded.isdisjoint({"tensorflow", "keras", "matplotlib", "rich", "jinja2"})


def test_every_module_has_a_side():
    assert set(MODULES) <= BASE | JUDGE | PLAYER | JOIN, "say in this test which side a new module is on"


@pytest.mark.parametrize("module", MODULES)
def test_layers(module):
    own = {name[1:] for name in imports(module) if name.startswith(".")}
    allowed = {
        **dict.fromkeys(BASE, BASE),
        **dict.fromkeys(JUDGE, BASE | JUDGE),
        **dict.fromkeys(PLAYER, BASE | PLAYER),
        **dict.fromkeys(JOIN, BASE | JUDGE | PLAYER | JOIN),
    }[module]
    assert own - {"__version__"} <= allowed
    if module in BASE | JUDGE:
        # Checkpoints of TensorFlow are read by TensorFlow, which is imported where one is opened.
        only = {"tensorflow"} if module == "checkpoints" else set()
        assert {name for name in imports(module) if name.startswith("tensorflow")} == only
        assert not any(name.startswith("tensorflow") for name in imports_at_the_top(module))


@pytest.mark.parametrize("module", MODULES)
def test_only_public_api(module):
    source = (ROOT / "tf1bn" / f"{module}.py").read_text(encoding="utf-8")
    if module not in SPEAK_OF_OTHERS:
        assert not re.search(
            r"tensorflow\.python|tf_slim|tf_keras|import keras|from keras|\b(tf|tensorflow|v1|v2)\.keras\b", source
        )
    assert not any(name.split(".")[0] in {"keras", "tf_keras", "tf_slim"} for name in imports(module))
    assert not any(name.startswith("tensorflow.") and "compat" not in name for name in imports(module))


def test_no_module_has_the_name_of_a_public_function():
    assert not {name for name in tf1bn.__all__ if callable(getattr(tf1bn, name))} & set(MODULES)


def test_version_is_the_one_in_the_changelog():
    assert f"## {tf1bn.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="no attribute 'batchnorm'"):
        tf1bn.batchnorm  # noqa: B018


def test_lazy_names_are_listed_and_found():
    assert set(tf1bn.__all__) <= set(dir(tf1bn))
    for name in tf1bn.__all__:
        assert getattr(tf1bn, name) is not None
