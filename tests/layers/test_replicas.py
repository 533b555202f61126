"""The layer in two replicas of a distribution strategy, against the recording of the real TF 1.15.5."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from golden.record import replicas

with open(replicas.PATH, encoding="ascii") as _stream:
    RECORDED = json.load(_stream)
# TF 1.15.5 made a merge of the replicas inside of a tf.cond, and failed; tf1bn does what the core layer did.
LIKE = {"own fused, fed": "core fused, fed", "own composed, fed": "core composed, fed"}


@pytest.fixture(scope="module")
def seen():
    root = Path(replicas.__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, replicas.__file__], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", [name for name in replicas.CASES if name != "renorm"])
def test_the_statistics_are_the_means_over_the_replicas(seen, name):
    wanted = RECORDED[LIKE.get(name, name)]
    assert set(seen[name]) == set(wanted)
    # The core layer of 1.15 keeps an average of each replica's own and shows their mean, which rounds once more.
    tolerance = 1e-6 if name in LIKE else 0 if name.startswith("own") else 2e-7
    for variable, value in wanted.items():
        np.testing.assert_allclose(seen[name][variable], value, rtol=tolerance, atol=0, err_msg=variable)


def test_what_is_not_as_it_was_recorded(seen):
    assert RECORDED["made by"].startswith("TensorFlow 1.15.5")
    assert {RECORDED[name] for name in LIKE} == {"InaccessibleTensorError"}
    assert isinstance(RECORDED["renorm"], dict)
    assert seen["renorm"] == "GraphError"
