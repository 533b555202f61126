"""What is released: an sdist, from it a wheel, and from that the commands beside NumPy and rich; the stubs in it."""

import inspect
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

import building
import numpy as np
import pytest
from faulty import Layer, record

import tf1bn
from tf1bn._native import _moments, _moving, _replay

pytestmark = pytest.mark.packaging
ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "tf1bn"
KINDS = (".py", ".pyi", ".jinja", ".css", ".js", ".json", ".typed")  # of files of the package that are released
ABI3 = sys.version_info >= (3, 11) and not sysconfig.get_config_var("Py_GIL_DISABLED")
USES = """
import sys, numpy as np, tf1bn
from tf1bn import checker, diagnosis, trace
for layer in diagnosis.diagnose(trace.open(sys.argv[1])):
    print(tf1bn.__file__, checker.batch_moments(np.eye(2)).mean, layer.verdict, *(cause.id for cause in layer.causes))
"""


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """Paths of an sdist of this checkout and of the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("released")
    egg = ["egg_info", "--egg-base", folder]
    run(sys.executable, "setup.py", "-q", *egg, "sdist", "-d", folder, cwd=ROOT)
    (sdist,) = folder.glob("*.tar.gz")
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    environment = {**os.environ, **building.environment(tmp_path_factory.mktemp("compiler"))}
    run(sys.executable, "-m", "pip", "wheel", *offline, sdist, cwd=folder, env=environment)
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def bare(released, tmp_path_factory):
    """The Python of an environment with the wheel and NumPy, and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    run(sys.executable, "-m", "venv", folder)
    python = folder / "bin" / "python"
    environment = {**os.environ, "PIP_NO_COMPILE": "1"}
    run(python, "-I", "-m", "pip", "install", "--quiet", f"numpy=={np.__version__}", released[1], env=environment)
    return python


def test_the_sdist_has_what_a_build_needs(released):
    with tarfile.open(released[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    sources = {
        str(path.relative_to(ROOT)) for path in (ROOT / "ext").iterdir() if path.suffix in (".pyx", ".pxd", ".h")
    }
    package = {str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*") if path.suffix in KINDS}
    assert names >= sources | package | {"setup.py", "pyproject.toml", "README.md", "LICENSE"}
    assert not [name for name in names if name.endswith((".c", ".so")) or name.startswith("tests")]


def test_the_wheel_has_the_package_and_nothing_else(released):
    with zipfile.ZipFile(released[1]) as archive:
        names = archive.namelist()
    expected = {str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*") if path.suffix in KINDS}
    assert {name for name in names if name.endswith(KINDS)} == expected
    compiled = {re.sub(r"\..*", "", name) for name in names if name.endswith(".so")}
    assert compiled == {f"tf1bn/_native/{name}" for name in ("_moments", "_moving", "_replay")}
    others = {name for name in names if not name.endswith((*KINDS, ".so"))}
    assert all(".dist-info/" in name for name in others)
    assert any(name.endswith("/LICENSE") for name in others)


def test_one_wheel_for_all_later_pythons(released):
    wheel = released[1].name
    minor = f"cp3{sys.version_info.minor}"
    if ABI3:
        assert "-cp311-abi3-" in wheel
        with zipfile.ZipFile(released[1]) as archive:
            assert all(".abi3." in name for name in archive.namelist() if name.endswith(".so"))
    else:
        assert f"-{minor}-{minor}" in wheel


def test_numpy_and_rich_are_all_that_it_requires(released):
    with zipfile.ZipFile(released[1]) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = message_from_string(archive.read(name).decode())
    required = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert [re.match(r"[\w-]+", line)[0] for line in required] == ["numpy", "rich"]
    extras = {}
    for line in set(metadata.get_all("Requires-Dist")) - set(required):
        extras.setdefault(re.search(r'extra == "(\w+)"', line)[1], set()).add(re.match(r"[\w-]+", line)[0])
    assert extras == {
        "tensorflow": {"tensorflow", "matplotlib", "jinja2"},
        "report": {"matplotlib", "jinja2"},
        "legacy": {"fissix", "tf_keras", "tf_slim"},
        "checkpoints": {"h5py", "safetensors", "tflite"},
        "completion": {"shtab"},
        "flax": {"flax", "jax"},
        "dask": {"dask", "fsspec"},
    }


def test_the_checker_beside_numpy_and_rich(bare, tmp_path):
    record(tmp_path / "t.trace", Layer(0.9, bessel=True), decay=0.9)
    (line,) = run(bare, "-I", "-c", USES, tmp_path / "t.trace", cwd=tmp_path).splitlines()
    file, *rest = line.split(" ", 1)
    assert Path(file).is_relative_to(bare.parents[1])
    assert rest == ["[0.5 0.5] finding bessel"]


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (
            ["audit", "t.trace", "--html", "a.json"],
            "needs the package `jinja2`; install it with `pip install jinja2`, or",
        ),
        (["reproduce"], "install it with `pip install tensorflow`, or `tf1bn[tensorflow]`."),
        (["run", "script.py"], "install it with `pip install tensorflow`, or `tf1bn[tensorflow]`."),
    ],
)
def test_what_is_missing_is_one_sentence(bare, tmp_path, command, sentence):
    record(tmp_path / "t.trace", Layer(0.9), decay=0.9)
    (tmp_path / "script.py").write_text("import tensorflow\n")
    done = subprocess.run([bare, "-I", "-m", "tf1bn", *command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert sentence in done.stderr
    assert not (tmp_path / "a.json").exists()


# ---------------------------------------------------------------- stubs

EDITOR = """
import numpy as np
import tf1bn
from tf1bn._native import _moments

tf1bn.batch_norm(1, decay=0.9)
tf1bn.batch_norm(1, dekay=0.9)
tf1bn.batch_normalization(1, scale="x")
tf1bn.batch_nrom(1)
reveal_type(tf1bn.__version__)
_moments.merge_states(np.zeros((4, 1)), np.zeros((4, 1)), "half")
"""


@pytest.fixture(scope="module")
def checked_with_mypy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mypy")
    (folder / "use.py").write_text(EDITOR)
    command = [sys.executable, "-m", "mypy", "--ignore-missing-imports", "--follow-imports=silent", "use.py"]
    environment = {"PATH": "/usr/bin:/bin", "MYPYPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (7, 'Unexpected keyword argument "dekay" for "batch_norm"'),
        (8, 'Argument "scale" to "batch_normalization" has incompatible type "str"'),
        (9, 'Module has no attribute "batch_nrom"'),
        (10, 'Revealed type is "str"'),
        (11, 'Argument 3 to "merge_states" has incompatible type "str"; expected "float"'),
    ],
)
def test_an_editor_sees_the_signatures(checked_with_mypy, line, said):
    assert f"use.py:{line}: " in checked_with_mypy
    assert said in checked_with_mypy
    assert "use.py:6" not in checked_with_mypy


def test_the_stub_of_the_package_has_its_names_and_signatures():
    source = (PACKAGE / "__init__.pyi").read_text(encoding="utf-8")
    named = set(re.findall(r"^from \S+ import (\w+) as \1$|^(?:def|class) (\w+)|^(__\w+__):", source, re.MULTILINE))
    assert {name for names in named for name in names if name} == {*tf1bn.__all__, *tf1bn._ALIASES, "__all__"}
    namespace = {}
    # In a stub a class may be named before it is there.
    source = "from __future__ import annotations\n" + re.sub(r"^from \..*$", "", source, flags=re.MULTILINE)
    exec(source, namespace)
    for name in ("batch_norm", "batch_normalization", "BatchNormalization"):
        stub, real = (inspect.signature(of).parameters for of in (namespace[name], getattr(tf1bn, name)))
        assert list(stub) == list(real)
        for argument, parameter in stub.items():
            if parameter.default is not ...:
                assert parameter.default == real[argument].default, argument
                assert parameter.kind == real[argument].kind


def test_the_stubs_of_the_extension_are_those_of_what_was_built(tmp_path):
    modules = [module.__name__ for module in (_moments, _moving, _replay)]
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "--ignore-missing-stub", *modules],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "Success: no issues found in 3 modules\n"), done.stderr
