"""What the structure of real graphs says: of TF 1.15.5 and others by tests/golden/record/structure.py, of TF 2 by
structure_tf2.py. The expectations are what each script builds, not what the audit says of it."""

import gzip
import pathlib

import pytest
import tiers

from tf1bn.graphs import GraphError, audit

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "golden" / "structure"
FILES = sorted(path.name.removesuffix(".gz") for path in FOLDER.iterdir())
OLDER = [name for name in FILES if name.rpartition("-")[2].startswith("1.")]
RIGHT = [name for name in FILES if name.startswith("right-") and name not in OLDER]
# By graph the layer that is wrong, its verdict, the cause that must come first, and a part of what is said.
WRONG = {
    "not-updated-contrib.meta": ("BatchNorm", "undecidable", "not-updated", "collection UPDATE_OPS"),
    "not-updated-phase.meta": ("bn", "undecidable", "not-updated", "They are in the collection UPDATE_OPS"),
    "not-updated-divided.meta": ("bn", "undecidable", "not-updated", "They are in no collection"),
    "not-updated-added.meta": ("bn/mean", "undecidable", "not-updated", "They are in the collection UPDATE_OPS"),
    "not-updated-private.meta": ("BatchNorm", "undecidable", "not-updated", "collection `my_updates` and not in"),
    "not-updated-early.meta": ("batch_normalization_1", "finding", "not-updated", "collected before the layer"),
    "not-updated-keras.meta": ("batch_normalization_1", "finding", "not-updated", "`layer.updates`"),
    "not-updated-loop-2.meta": ("bn", "finding", "not-updated", "no step can ask for them"),
    "not-updated-2.meta": ("late", "finding", "not-updated", "collected before the layer"),
    "flag-off-default.meta": ("batch_normalization", "finding", "training-flag-off", "constant False"),
    "flag-off-contrib.meta": ("BatchNorm", "finding", "training-flag-off", "`BatchNorm/gamma`, `BatchNorm/beta`"),
    "flag-off-keras.meta": ("batch_normalization", "finding", "training-flag-off", "constant False"),
    "flag-off-2.meta": ("bn", "finding", "training-flag-off", "constant False"),
    "batch-stats-contrib.meta": ("BatchNorm", "finding", "batch-stats-at-inference", "no optimizer"),
    "batch-stats-composed.meta": ("batch_normalization", "finding", "batch-stats-at-inference", "no optimizer"),
    "batch-stats-keras.meta": ("batch_normalization", "finding", "batch-stats-at-inference", "no optimizer"),
    "batch-stats-alone.meta": ("batchnorm", "undecidable", "batch-stats-at-inference", "nothing in the graph averages"),
    "batch-stats-export-2.pb": ("batch_normalization", "finding", "batch-stats-at-inference", "`serving_default` runs"),
    "leak-by-hand.meta": ("moments/Squeeze/ExponentialMovingAverage", "finding", "validation-leak", "`training:0`"),
    "leak-assign.meta": ("net", "finding", "validation-leak", "`Assign`, `Assign_1`"),
    "leak-where.meta": ("net", "finding", "validation-leak", "`Assign`, `Assign_1`"),
    "leak-2.meta": ("bn", "finding", "validation-leak", "`AssignVariableOp`, `AssignVariableOp_1`"),
    "leak-called-twice.meta": ("bn", "finding", "validation-leak", "`bn/AssignMovingAvg_1` run in evaluation too"),
    "leak-called-twice-rank-2.meta": ("bn", "finding", "validation-leak", "`cond/Merge` chooses between"),
    "double-gan.meta": ("discriminator/bn", "finding", "double-update", "does 2 updates"),
    "double-towers.meta": ("net/bn", "finding", "double-update", "does 3 updates"),
    "double-steps.meta": ("net/bn", "finding", "double-update", "each waits for the one before it"),
    "double-in-place.meta": ("discriminator/bn", "finding", "double-update", "does 2 updates"),
    "double-2.meta": ("bn", "finding", "double-update", "does 2 updates"),
    "shared-epsilon.meta": ("bn", "finding", "epsilon", "0.001 in"),
    "shared-decay.meta": ("net/bn", "finding", "decay", "0.9, 0.99"),
    "shared-axis.meta": ("bn", "finding", "wrong-axis", "NCHW, NHWC"),
    "shared-epsilon-2.meta": ("bn", "finding", "epsilon", "1e-05 in"),
    "not-saved-trainable.meta": ("BatchNorm", "finding", "not-restored", "not `BatchNorm/moving_mean`"),
    "not-saved-list.meta": ("batch_normalization", "finding", "not-restored", "`save/SaveV2`"),
    "not-saved-sharded.meta": ("batch_normalization", "finding", "not-restored", "`save/SaveV2`"),
    "not-saved-2.meta": ("bn", "finding", "not-restored", "not `bn/moving_mean`"),
    "layout-nhwc-after-nchw.meta": ("BatchNorm", "finding", "wrong-axis", "which is NCHW"),
    "layout-nchw-after-nhwc.meta": ("BatchNorm", "finding", "wrong-axis", "which is NHWC"),
    "layout-core-axis.meta": ("batch_normalization", "finding", "wrong-axis", "which is NHWC"),
    "layout-2.meta": ("bn", "finding", "wrong-axis", "which is NCHW"),
    "siblings-epsilon.meta": ("batch_normalization_2", "ok", "epsilon", "1e-05 here and 0.001 in 4"),
    "siblings-decay.meta": ("BatchNorm_4", "ok", "decay", "0.9 here and 0.99 in 4"),
    "siblings-layout.meta": ("batch_normalization", "ok", "wrong-axis", "NCHW here and NHWC in 4"),
    "siblings-2.meta": ("bn0", "ok", "decay", "0.99 here and 0.9 in 4"),
    # .999^500 = .606, .99^200 = .134, .999^1000 = .368, .99^100 = .366
    "cold-polynomial.meta": ("BatchNorm", "ok", "cold-start", "weigh 0.61 after the 500 steps"),
    "cold-piecewise.meta": ("batch_normalization", "ok", "cold-start", "weigh 0.13 after the 200 steps"),
    "cold-cosine.meta": ("BatchNorm", "ok", "cold-start", "weigh 0.37 after the 1000 steps"),
    "cold-2.meta": ("bn", "ok", "cold-start", "weigh 0.37 after the 100 steps"),
    "cond-contrib.meta": ("BatchNorm", "undecidable", "validation-leak", "predicate is `finite:0`"),
    "cond-composed.meta": ("BatchNorm", "undecidable", "validation-leak", "predicate is `finite:0`"),
    "cond-in-place.meta": ("BatchNorm", "undecidable", "validation-leak", "predicate is `finite:0`"),
    "cond-2.meta": ("bn", "undecidable", "validation-leak", "predicate is `finite:0`"),
    "gradients-alone.meta": ("BatchNorm", "undecidable", "batch-stats-at-inference", "nothing that applies them"),
    "not-updated-by-hand.meta": ("net", "finding", "not-updated", "No operation of the graph updates"),
    "batch-stats-export.pb": ("BatchNorm", "finding", "batch-stats-at-inference", "`serving_default` runs"),
    "batch-stats-export-default.pb": (
        *("batch_normalization", "finding", "batch-stats-at-inference"),
        "whose default is True and which the signature `serving_default` does not take",
    ),
    "not-trainable.meta": ("batch_normalization", "ok", "trainable-false", "not trainable"),
    "no-memory.meta": ("BatchNorm", "ok", "no-memory", "The decay is 0"),
    "swapped.meta": ("bn", "finding", "gamma-beta-swapped", "scales by `bn/beta` and shifts by `bn/gamma`"),
    "frozen-decay.meta": ("BatchNorm", "finding", "frozen", "constant 1"),
}


@pytest.fixture
def graph(tmp_path):
    def unpacked(name):
        path = tmp_path / name
        path.write_bytes(gzip.decompress((FOLDER / f"{name}.gz").read_bytes()))
        return str(path)

    return unpacked


def causes_of(layer, severity="finding"):
    return [cause["id"] for cause in layer["causes"] if cause["severity"] == severity]


def test_there_are_more_than_twenty_right_graphs():
    assert len(RIGHT) > 20


@pytest.mark.parametrize("name", RIGHT)
def test_nothing_is_found_in_a_right_graph(name, graph):
    result = audit(graph(name))
    assert [(layer["name"], causes_of(layer)) for layer in result["layers"] if causes_of(layer)] == []
    assert {layer["verdict"] for layer in result["layers"]} == {"ok"}
    assert result["ok"]


@pytest.mark.parametrize("name", WRONG)
def test_each_wrong_graph(name, graph):
    wrong, verdict, cause, said = WRONG[name]
    result = audit(graph(name))
    assert result["ok"] == (verdict == "ok")
    by_name = {layer["name"]: layer for layer in result["layers"]}
    layer = by_name.pop(wrong)
    assert layer["verdict"] == verdict
    assert layer["causes"][0]["id"] == cause
    assert said in layer["causes"][0]["explanation"]
    assert said in layer["explanation"]
    assert layer["causes"][0]["remedy"].endswith(".")
    # No other layer is found wrong, and no other cause.
    assert causes_of(layer) in ([cause], [])
    assert all(other["verdict"] == "ok" for other in by_name.values())


def test_every_recorded_graph_is_expected():
    assert {*RIGHT, *WRONG, *OLDER, "unknown-decay.meta"} == set(FILES)


def structure(path, index=0, **arguments):
    return audit(path, **arguments)["layers"][index]["structure"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("right-contrib", ("the fused operation FusedBatchNormV3", "tf.contrib.layers.batch_norm", 0.001, 0.999, 3)),
        ("right-layers", ("the fused operation FusedBatchNormV3", "tf.layers.batch_normalization", 0.001, 0.99, 3)),
        ("right-layers-composed", ("composed operations", "tf.layers.batch_normalization", 0.001, 0.99, 1)),
        ("right-divided", ("composed operations", None, 1e-5, 0.9, 1)),
        ("right-centred", ("composed operations", None, 1e-5, 0.9, 1)),
        ("right-added", ("composed operations", None, 0.001, 0.9)),
        ("right-keras", ("the fused operation FusedBatchNormV3", "tf.keras", 0.001, 0.99, 3)),
        ("right-nchw", ("the fused operation FusedBatchNormV3", "tf.contrib.layers.batch_norm", 0.001, 0.999, 1)),
        ("right-by-hand", ("composed operations", "tf.nn.batch_normalization by hand, with ExponentialMovingAverage")),
    ],
)
def test_what_a_layer_is(name, expected, graph):
    known = structure(graph(f"{name}.meta"))
    found = (known["form"], known["made_by"], known["epsilon"], known["decay"]["value"], known["axis"])
    assert found[: len(expected)] == expected


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("right-contrib", [("constant", None, True)]),
        ("right-layers-placeholder", [("placeholder", "training:0", None)]),
        ("right-layers-default", [("placeholder with a default", "training:0", False)]),
        ("right-train-and-test", [("constant", None, True), ("constant", None, False)]),
        ("right-cond", [("placeholder", "training:0", None)]),
        ("flag-off-default", [("constant", None, False)]),
        ("right-if-2", [("placeholder", "training:0", None)]),
    ],
)
def test_the_mode_of_each_application(name, flags, graph):
    found = [one["is_training"] for one in structure(graph(f"{name}.meta"))["applications"]]
    assert [(flag["kind"], flag["name"], flag["value"]) for flag in found] == flags


def test_a_decay_that_a_run_alone_knows(graph):
    assert structure(graph("unknown-decay.meta"))["decay"] == {"kind": "placeholder", "value": None, "name": "decay"}


def test_the_updates_and_the_train_ops_that_run_them(graph):
    known = structure(graph("right-gan.meta"), 1)
    runs = [one["train_ops"] for one in known["updates"]["mean"]]
    assert runs == [["GradientDescent"], []]
    assert known["statistics"] == {
        "mean": "discriminator/batch_normalization/moving_mean",
        "variance": "discriminator/batch_normalization/moving_variance",
    }


def test_the_train_op_that_is_named_decides(graph):
    path = graph("not-updated-contrib.meta")
    (layer,) = audit(path, "GradientDescent")["layers"]
    assert (layer["verdict"], causes_of(layer)) == ("finding", ["not-updated"])
    assert "Either" not in layer["explanation"]
    updates = ["BatchNorm/AssignMovingAvg", "BatchNorm/AssignMovingAvg_1:0"]
    assert audit(path, ["GradientDescent", *updates])["ok"]
    (layer,) = audit(path, ["GradientDescent", updates[0]])["layers"]
    assert "The other of the two is updated" in layer["explanation"]


def test_a_train_op_that_is_not_there(graph):
    with pytest.raises(GraphError, match="`train_op` is 'Adam', which is no operation of the graph"):
        audit(graph("right-layers.meta"), "Adam")
    with pytest.raises(GraphError, match="`train_op` is 3; it must be an operation"):
        audit(graph("right-layers.meta"), 3)


@pytest.mark.parametrize("name", tiers.slow_but(OLDER[:4], OLDER))
def test_graphs_of_older_releases(name, graph):
    result = audit(graph(name))
    stem = name.removesuffix(".meta").rpartition("-")[0]
    assert result["graph"]["tensorflow"].startswith(name.removesuffix(".meta").rpartition("-")[2])
    if stem.startswith("right"):
        assert result["ok"], result["layers"]
    else:
        _, verdict, cause, _ = WRONG[f"{stem}.meta"]
        worst = next(layer for layer in result["layers"] if layer["verdict"] != "ok")
        assert (worst["verdict"], worst["causes"][0]["id"]) == (verdict, cause)
