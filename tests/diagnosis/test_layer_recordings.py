"""Traces of real layers of TF 1.4 and 1.15 with several axes, virtual batches and renorm; golden/record/ made them."""

from pathlib import Path

import pytest
from golden.record import record_layer_traces as recorded

from tf1bn import trace
from tf1bn.diagnosis import diagnose
from tf1bn.trace.views import TraceView

TRACES = sorted(path.parent for path in Path(recorded.FOLDER).glob("*/*/trace.json"))
RENORM = [path for path in TRACES if path.name.startswith("renorm")]


def name_of(path):
    return f"{path.parent.name}-{path.name}"


def test_every_net_is_there():
    found = {path.name: set() for path in TRACES}
    for path in TRACES:
        found[path.name].add(path.parent.name[3:].rpartition(".")[0])
    assert found == {name: set(releases) for name, (*_, releases) in recorded.NETS.items()}


@pytest.mark.parametrize("path", TRACES, ids=name_of)
def test_the_real_layers_are_right_and_wholly_checked(path):
    opened = trace.open(path)
    (found,) = diagnose(opened)
    assert (found.verdict, found.steps) == ("ok", recorded.STEPS), found.explanation
    assert {cause.id for cause in found.causes} <= {"cold-start"}
    assert "not be checked" not in found.explanation
    assert "not checked" not in found.explanation
    assert found.added_error <= found.added_bound
    _, arguments, shape, _ = recorded.NETS[path.name]
    layer = opened.layers["bn"]
    assert layer.renorm_clipping == (arguments.get("renorm_clipping", {}) if layer.renorm else None)
    record = next(iter(opened)).layers["bn"]
    assert sum(each.size for each in record.inputs) == recorded.batch(path.name, 0).size
    assert record.applications == (shape[0] // arguments.get("virtual_batch_size", shape[0]))


@pytest.mark.parametrize("path", RENORM, ids=name_of)
@pytest.mark.parametrize("clipping", [{"rmin": 1.5}, {"rmax": 0.5}])
def test_other_limits_than_the_real_ones_are_a_finding(path, clipping):
    (found,) = diagnose(TraceView(trace.open(path), settings={"bn": {"renorm_clipping": clipping}}))
    assert found.verdict == "finding", found.explanation


@pytest.mark.parametrize("path", RENORM, ids=name_of)
def test_without_the_limits_it_says_that_outputs_were_not_checked(path):
    """As in traces that were written before there was a place for them."""
    (found,) = diagnose(TraceView(trace.open(path), settings={"bn": {"renorm_clipping": None}}))
    assert found.verdict == "ok"
    assert "The outputs of training steps were not checked" in found.explanation


@pytest.mark.parametrize("path", [path for path in TRACES if path.name.startswith("virtual")], ids=name_of)
def test_virtual_batches_as_one_batch_are_not_what_the_real_layer_does(path):
    (found,) = diagnose(TraceView(trace.open(path), fields={"reduction": "pooled"}))
    assert found.verdict == "finding", found.explanation
