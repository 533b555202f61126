"""Every cause, as faults of simulated layers in many configurations, is the first one that is named.

The table is in ``faults.py``. ``test_causes_tensorflow.py`` has what really ran TensorFlow, ``test_checkpoints.py`` the
causes that only a checkpoint shows.
"""

import ast
import collections
from pathlib import Path

import faults
import pytest
import tiers

import tf1bn
from tf1bn.diagnosis import causes
from tf1bn.diagnosis.engine import diagnose
from tf1bn.verdicts import CAUSES, SEVERITIES

# What makes a cause from its id, the first argument, and the tables of ids in an order of their own.
MAKERS = {"cause", "cause_entry", "_add"}

CONFIGS = {name: [config for fault, config in faults.CASES if fault == name] for name in faults.FAULTS}


def first_of_each_cause():
    """One fault for each combination of causes."""
    chosen = {}
    for name, configs in CONFIGS.items():
        fault = faults.FAULTS[name]
        chosen.setdefault(tuple(fault.expected(fault.config(configs[0]))), name)
    return list(chosen.values())


@pytest.mark.parametrize("name", tiers.slow_but(first_of_each_cause(), list(CONFIGS)))
def test_the_first_cause_named_is_the_right_one(tmp_path, name):
    assert faults.problem(tmp_path / "trace", name, CONFIGS[name][0]) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, configs in CONFIGS.items() if configs[1:]])
def test_the_first_cause_named_is_the_right_one_in_all_configurations(tmp_path, name):
    for config in CONFIGS[name][1:]:
        assert faults.problem(tmp_path / config, name, config) is None


def test_every_cause_has_three_traces():
    simulated = collections.Counter()
    configs = collections.defaultdict(set)
    for name, config in faults.CASES:
        fault = faults.FAULTS[name]
        for cause in fault.expected(fault.config(config)):
            simulated[cause] += 1
            configs[cause].add(config)
    assert set(simulated) == set(causes.ORDER)
    assert min(simulated.values()) >= 3
    assert min(map(len, configs.values())) >= 3


def named_in_the_package():
    """The ids of all causes that the source makes or puts in an order, with the file of each."""
    for path in sorted(Path(tf1bn.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            values = []
            if isinstance(node, ast.Call) and node.args:
                made_by = getattr(node.func, "id", getattr(node.func, "attr", None))
                values = [node.args[0]] if made_by in MAKERS else []
            elif isinstance(node, (ast.Assign, ast.AugAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                ordered = any(getattr(target, "id", None) == "ORDER" for target in targets)
                values = getattr(node.value, "elts", []) if ordered else []
            for value in values:
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield value.value, path.name


def test_every_cause_is_in_the_table():
    found = dict(named_in_the_package())
    assert len(found) > 20
    assert {name: file for name, file in found.items() if name not in CAUSES} == {}
    for name, kind in CAUSES.items():
        assert kind.severity in SEVERITIES, name
        assert kind.title, name
        assert kind.where, name


def test_a_wrong_name_is_seen(tmp_path):
    """The table is compared: a fault that is called something else is a problem."""
    assert faults.problem(tmp_path / "a", "updates not run", "rank 2, .9", expected=("decay",)) is not None
    assert faults.problem(tmp_path / "b", "cold", "rank 2, .9", verdict="finding") is not None
    assert diagnose(faults.trace_of(tmp_path / "c", "cold", "rank 2, .9"))[1].verdict == "ok"
