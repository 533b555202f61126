"""The public names of tf1bn: the list below is the whole of them, and a typed program may use every one."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiers

import tf1bn
from tf1bn import errors

ROOT = Path(__file__).resolve().parents[2]
NAMES = {"__version__", "batch_norm", "batch_normalization", "BatchNormalization", "arg_scope", "recalibrate"}
NAMES |= {"release", "Recorder"}
PACKAGES = {
    "checker": {"Comparison", "Moments", "MovingComparison", "MovingStats", "batch_moments", "compare"},
    "checkpoints": {"Checkpoint", "CheckpointError", "Variable", "audit_checkpoint", "open_checkpoint"},
    "cluster": {"ClusterError", "Workers"},
    "contrib": {
        "compiler",
        "crf",
        "data",
        "distributions",
        "framework",
        "keras",
        "layers",
        "learn",
        "legacy_seq2seq",
        "losses",
        "metrics",
        "rnn",
        "seq2seq",
        "signal",
        "slim",
        "training",
        "util",
    },
    "diagnosis": {"Cause", "Diagnosis", "diagnose"},
    "errors": {
        "CheckpointError",
        "ClusterError",
        "CommandError",
        "DeviceUnavailableError",
        "GraphError",
        "MappingError",
        "NotRecordedError",
        "OutputError",
        "PlotUnavailableError",
        "RecalibrationError",
        "Tf1bnError",
        "TraceError",
    },
    "graphs": {"GraphError", "audit"},
    "legacy": {"run_script"},
    "parity": {"MappingError", "compare_checkpoints", "compare_graphs", "compare_traces", "rejudge"},
    "recalibration": {"LayerReport", "RecalibrationError", "Report", "recalibrate"},
    "recorders": {"Recorder"},
    "releases": {"LATEST", "NAMES", "TABLE", "Release", "get", "markdown"},
    "reproduce": {"main"},
    "testing": {"assert_parity", "record_port"},
    "trace": {"Layer", "Record", "Step", "Trace", "TraceError", "Writer", "join", "open"},
}
# Other names of two modules, kept for one release, and what was in use of them.
ALIASES = {
    "article": {"CONCLUSIONS", "EPSILON", "EXPERIMENTS", "INITIAL_MEAN", "INITIAL_VARIANCE", "SHAPE", "SLIP"},
    "oldscript": {"run_script"},
}


def test_the_names_of_tf1bn():
    assert set(tf1bn.__all__) == NAMES | set(PACKAGES)
    assert len(tf1bn.__all__) == len(set(tf1bn.__all__))


@pytest.mark.parametrize("package", PACKAGES)
def test_the_names_of_a_public_package(package):
    module = importlib.import_module(f"tf1bn.{package}")
    assert set(module.__all__) == PACKAGES[package]
    for name in module.__all__:
        assert getattr(module, name) is not None


@pytest.mark.parametrize("package", tiers.slow_but(list(PACKAGES)[::4], [*PACKAGES, *ALIASES]))
def test_packages_are_reached_without_an_import(package):
    code = f"import tf1bn; print(tf1bn.{package}.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == f"tf1bn.{package}\n"


@pytest.mark.parametrize("alias", ALIASES)
def test_aliases_of_one_release(alias):
    module = getattr(tf1bn, alias)
    assert set(module.__all__) >= ALIASES[alias]
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_every_exception_has_the_one_base_and_ends_in_error():
    for name in errors.__all__:
        assert name.endswith("Error")
        assert issubclass(getattr(errors, name), errors.Tf1bnError)


@pytest.mark.slow
def test_a_typed_program_may_use_all_of_it(tmp_path):
    """Strict on the program, not on this package: all that the program calls and reads must be annotated."""
    program = Path(__file__).with_name("user_program.py")
    command = [sys.executable, "-m", "mypy", "--strict", "--ignore-missing-imports", "--follow-imports=silent"]
    done = subprocess.run(
        [*command, "--cache-dir", str(tmp_path), str(program)],
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
