"""Checkpoints of batch renormalisation of TF 1.3 and 1.12, written there and read here, and the other way round."""

import json
import pathlib

import pytest
import replays
from golden.record import cases, checkpoints, checkpoints_renorm
from modes import played_in

import tf1bn

FOLDER = pathlib.Path(checkpoints_renorm.FOLDER)
API = cases.Api(replays.WithoutGraphOptimizer(), tf1bn.batch_norm, tf1bn.contrib.framework.arg_scope)


@pytest.mark.parametrize("release", [version.rpartition(".")[0] for version in checkpoints_renorm.VERSIONS])
@pytest.mark.parametrize("by", ["tf", "tf1bn"])
def test_training_goes_on_as_the_release_went_on(by, release):
    """From a checkpoint of either side, both sides go on with the same numbers."""
    recorded = json.loads((FOLDER / f"tf-{release}.json").read_text("ascii"))[by]
    assert "net/bn/renorm_mean_weight:0" in recorded["start"]
    with played_in("reference"), tf1bn.release(release):
        played = json.loads(json.dumps(checkpoints_renorm.restored(API, str(FOLDER / f"{by}-{release}"))))
    case, tally = checkpoints.case_of("renorm", after=True), replays.Tally()
    floor = tf1bn.releases.get(release).epsilon_floor
    assert replays.difference(case, played, recorded, floor, tally) is None
    assert tally.all > 100


def test_a_checkpoint_of_the_other_scheme_lacks_variables():
    with played_in("reference"), pytest.raises(Exception, match="moving_stddev"):
        checkpoints_renorm.restored(API, str(FOLDER / "tf-1.12"))
