"""``tf1bn audit`` and ``tf1bn parity`` of graphs: exit codes, JSON, options, and values and structure in one file."""

import gzip
import json
import pathlib
import shutil

import pytest

from tf1bn.cli import main as cli

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"


@pytest.fixture
def graph(tmp_path):
    def unpacked(name, folder="structure"):
        path = tmp_path / name
        path.write_bytes(gzip.decompress((GOLDEN / folder / f"{name}.gz").read_bytes()))
        return str(path)

    return unpacked


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_exit_codes_and_json(graph, capsys, tmp_path):
    file = tmp_path / "audit.json"
    for name, code in (("right-slim.meta", 0), ("double-gan.meta", 1), ("not-updated-contrib.meta", 2)):
        found, out, _ = run(capsys, "audit", graph(name), "--json", file)
        assert found == code
        result = json.loads(file.read_text())
        assert result["format"] == "tf1bn-audit"
        assert result["kind"] == "graph"
        assert result["ok"] == (code == 0)
        assert f"{name}: {len(result['layers'])} layer" in out
    assert "does not depend" in result["layers"][0]["explanation"]


def test_the_train_op(graph, capsys):
    path = graph("not-updated-contrib.meta")
    code, out, _ = run(capsys, "audit", path, "--train-op", "GradientDescent")
    assert code == 1
    assert "not-updated" in out
    names = "GradientDescent, BatchNorm/AssignMovingAvg,BatchNorm/AssignMovingAvg_1"
    assert run(capsys, "audit", path, "--train-op", names)[0] == 0
    code, _, err = run(capsys, "audit", path, "--train-op", "Adam")
    assert code == 2
    assert "`train_op` is 'Adam', which is no operation of the graph" in err
    code, _, err = run(capsys, "audit", path, "--train-op", " ,")
    assert code == 2
    assert "`--train-op` is ' ,'" in err
    code, _, err = run(capsys, "audit", GOLDEN / "checkpoints" / "fused.index", "--train-op", "Adam")
    assert code == 2
    assert "`--train-op` is for graphs" in err


def test_what_is_accepted(graph, capsys, tmp_path):
    path = graph("flag-off-default.meta")
    assert run(capsys, "audit", path)[0] == 1
    assert run(capsys, "audit", path, "--accept", "training-flag-off")[0] == 0
    baseline = tmp_path / "known.json"
    assert run(capsys, "audit", path, "--write-baseline", baseline)[0] == 1
    assert run(capsys, "audit", path, "--baseline", baseline)[0] == 0


def test_what_is_accepted_leaves_what_cannot_be_seen(graph, capsys, tmp_path):
    """A layer with a finding and a doubt is undecidable where the finding is accepted, and not ok."""
    from tf1bn.cli.accept import rejudge_audit
    from tf1bn.graphs.structure.entries import audit_entry, entry

    causes = [{**entry("epsilon", "One."), "accepted": True}, entry("not-updated", "Either or.", doubt=True)]
    layer = audit_entry("bn", "finding", [causes[0]], ["Unseen."], {}, "")
    (left,) = rejudge_audit({"layers": [layer]})["layers"]
    assert (left["verdict"], left["undecided"]) == ("undecidable", ["Unseen."])
    layer = audit_entry("bn", "finding", causes, [], {}, "")
    assert layer["undecided"] == ["Either or."]
    assert all("doubt" not in cause for cause in layer["causes"])


def test_layers_quiet_values_and_page(graph, capsys, tmp_path):
    path = graph("not-updated-early.meta")
    code, out, _ = run(capsys, "audit", path, "--layer", "batch_normalization", "--quiet", "--values")
    assert code == 0
    assert "1 layer: 0 finding" in out
    page = tmp_path / "page.html"
    assert run(capsys, "audit", path, "--html", page)[0] == 1
    assert "not-updated" in page.read_text()


def test_a_checkpoint_beside_its_graph_is_judged_by_its_values(tmp_path, graph, capsys):
    """As before: the .meta is evidence for the checkpoint, and the checkpoint is what is named."""
    graph("forgotten.meta", "graphs")
    for path in (GOLDEN / "graphs").glob("forgotten.[di]*"):
        shutil.copy(path, tmp_path)
    code, out, _ = run(capsys, "audit", tmp_path / "forgotten")
    assert code == 1
    assert "The graph 'forgotten.meta' has" in " ".join(out.split())
    code, out, _ = run(capsys, "audit", tmp_path / "forgotten.meta")
    assert code == 2
    assert "UPDATE_OPS" in out


def test_a_frozen_graph_has_values_and_structure(capsys, tmp_path):
    file = tmp_path / "audit.json"
    code, _, _ = run(capsys, "audit", GOLDEN / "graphs" / "fused_inference.pb", "--json", file)
    (layer,) = json.loads(file.read_text())["layers"]
    assert code == 0
    assert layer["values"]["mean"]["variable"] == "bn/moving_mean"
    assert layer["structure"]["epsilon"] == 0.002
    assert layer["structure"]["frozen"] is True
    code, _, _ = run(capsys, "audit", GOLDEN / "graphs" / "fused_folded.pb", "--json", file)
    (layer,) = json.loads(file.read_text())["layers"]
    assert (code, layer["name"], layer["structure"]["channels"]) == (0, "bn", 4)
    code, _, _ = run(capsys, "audit", GOLDEN / "graphs" / "composed.pb", "--json", file)
    (layer,) = json.loads(file.read_text())["layers"]
    assert code == 1
    assert [cause["id"] for cause in layer["causes"]] == ["batch-stats-at-inference"]


def test_values_that_are_not_judged_are_no_success(graph, capsys, tmp_path):
    """A SavedModel whose variables have no names of batch norms: its structure is right, and nothing else was seen."""
    from tf1bn.cli.graphs import joined

    structure = {"layers": [{"name": "bn", "verdict": "ok", "structure": {"statistics": {"mean": "m"}}}], "notes": []}
    values = {"layers": [], "problems": ["Nothing was judged."], "notes": [], "ok": False}
    assert joined(values, {**structure, "graph": {}})["ok"] is False


def test_no_output_takes_the_place_of_a_graph(graph, capsys, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(gzip.decompress((GOLDEN / "structure/right-export.pb.gz").read_bytes()))
    for path, file in ((tmp_path, "saved_model.pb"), (graph("right-slim.meta"), "right-slim.meta")):
        before = (tmp_path / file).read_bytes()
        code, _, err = run(capsys, "audit", path, "--json", tmp_path / file)
        assert code == 2
        assert "--json" in err
        assert (tmp_path / file).read_bytes() == before


def test_the_graph_names_the_variables_of_a_saved_model(tmp_path, capsys):
    """TF 2 saves by the way to an object, here "held/0"; the graph beside it knows the names of the variables."""
    import tensorflow as tf

    module, start = tf.Module(), {"gamma": 1.5, "beta": 0.5, "moving_mean": 2.0, "moving_variance": -3.0}
    module.held = [tf.Variable([value, value + 1], name=f"net/bn/{name}") for name, value in start.items()]

    @tf.function(input_signature=[tf.TensorSpec([None, 4, 4, 2])])
    def serve(x):
        gamma, beta, mean, variance = (variable.read_value() for variable in module.held)
        y, _, _ = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, mean, variance, epsilon=2e-3, is_training=False)
        return {"y": y}

    module.serve = serve
    tf.saved_model.save(module, str(tmp_path / "export"), signatures={"serving_default": serve})
    code, _, _ = run(capsys, "audit", tmp_path / "export", "--json", tmp_path / "audit.json")
    (layer,) = json.loads((tmp_path / "audit.json").read_text())["layers"]
    assert code == 1
    assert (layer["name"], [cause["id"] for cause in layer["causes"]]) == ("net/bn", ["bad-variance"])
    assert layer["values"]["gamma"] == {"variable": "net/bn/gamma", "min": 1.5, "max": 2.5, "not_finite": 0}
    assert layer["structure"]["epsilon"] == 0.002


def test_a_damaged_graph_is_one_sentence(tmp_path, capsys):
    path = tmp_path / "cut.meta"
    path.write_bytes(gzip.decompress((GOLDEN / "structure" / "right-slim.meta.gz").read_bytes())[:5000])
    code, out, err = run(capsys, "audit", path)
    assert (code, out) == (2, "")
    assert "is damaged" in err
    assert err.count("\n") == 1


# ---- parity


@pytest.mark.parametrize(
    ("new", "code", "cause"),
    [("fused_inference", 0, None), ("fused", 1, "batch-stats-at-inference"), ("fused_folded", 0, None)],
)
def test_a_graph_and_what_was_exported_of_it(new, code, cause, graph, capsys, tmp_path):
    file = tmp_path / "parity.json"
    arguments = ("parity", graph("fused.meta", "graphs"), GOLDEN / "graphs" / f"{new}.pb")
    assert run(capsys, *arguments, "--json", file)[0] == code
    result = json.loads(file.read_text())
    assert result["kind"] == "graphs"
    assert [one["id"] for layer in result["layers"] for one in layer["causes"]] == ([cause] if cause else [])
    # What was written is a comparison that the command reads again.
    assert run(capsys, "parity", file)[0] == code


def test_two_graphs_with_other_settings(graph, capsys):
    code, out, _ = run(capsys, "parity", graph("right-layers.meta"), graph("right-contrib.meta"))
    assert code == 1
    assert "unmatched" in out
    old = graph("siblings-epsilon.meta")
    assert run(capsys, "parity", old, old)[0] == 0
    new = graph("siblings-layout.meta")
    code, out, _ = run(capsys, "parity", old, new, "--layer", "batch_normalization_2", "--json", "-")
    assert code == 1
    assert "Epsilon is 1.001e-05 in OLD and 0.001 in NEW" in json.loads(out)["layers"][0]["explanation"]


def test_options_that_are_not_for_graphs(graph, capsys):
    path = graph("right-layers.meta")
    for option in (("--ulp", "1"), ("--epsilon", ".1"), ("--only", "training")):
        code, _, err = run(capsys, "parity", path, path, *option)
        assert code == 2
        assert "which is not for graphs" in err


def test_a_folded_layer_needs_the_checkpoint(graph, capsys):
    paths = graph("composed.meta", "graphs"), GOLDEN / "graphs" / "composed_folded.pb"
    code, out, _ = run(capsys, "parity", *paths, "--json", "-")
    assert code == 2
    assert "compare it with the checkpoint" in out
