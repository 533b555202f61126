"""The layer in two replicas of a distribution strategy, against the recording of the real TF 1.15.5."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from golden.record import replicas

from tf1bn.checker import MovingStats

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
    rounding = fused_rounding() if "fused" in name else {}
    for variable, value in wanted.items():
        np.testing.assert_allclose(
            seen[name][variable], value, rtol=tolerance, atol=rounding.get(variable, 0), err_msg=variable
        )


def fused_rounding():
    """How far two fused layers can be apart: their kernels sum in the order of the processor's vectors."""
    stats = [MovingStats(np.zeros(3), np.ones(3), decay=0.9, bessel=True) for _ in range(2)]
    for step in range(3):
        batch = np.random.RandomState(step).normal(3, 2, (4, 4, 4, 3)).astype(np.float32)
        for replica, each in enumerate(stats):
            each.update(batch * (1 + replica) + 10 * replica)
    # Without the debiasing, which divides by this.
    debiased = 1 - 0.9**3
    mean = 2 * max(each.mean_bound.max() for each in stats) / debiased
    return {
        "bn/moving_mean:0": mean,
        "bn/bn/moving_mean/biased:0": mean,
        "bn/moving_variance:0": 2 * max(each.variance_bound.max() for each in stats) / debiased,
    }


def test_what_is_not_as_it_was_recorded(seen):
    assert RECORDED["made by"].startswith("TensorFlow 1.15.5")
    assert {RECORDED[name] for name in LIKE} == {"InaccessibleTensorError"}
    assert isinstance(RECORDED["renorm"], dict)
    assert seen["renorm"] == "GraphError"
