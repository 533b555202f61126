"""Every cause, as faults of simulated layers in many configurations, is the first one that is named.

The table is in ``faults.py``. ``test_causes_tensorflow.py`` has what really ran TensorFlow, ``test_checkpoints.py``
the causes that only a checkpoint shows.
"""

import collections

import faults
import pytest

from tf1bn.diagnosis import causes
from tf1bn.diagnosis.engine import diagnose

CONFIGS = {name: [config for fault, config in faults.CASES if fault == name] for name in faults.FAULTS}


@pytest.mark.parametrize("name", CONFIGS)
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


def test_a_wrong_name_is_seen(tmp_path):
    """The table is compared: a fault that is called something else is a problem."""
    assert faults.problem(tmp_path / "a", "updates not run", "rank 2, .9", expected=("decay",)) is not None
    assert faults.problem(tmp_path / "b", "cold", "rank 2, .9", verdict="finding") is not None
    assert diagnose(faults.trace_of(tmp_path / "c", "cold", "rank 2, .9"))[1].verdict == "ok"
