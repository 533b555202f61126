"""``--accept``, ``--baseline`` and ``--write-baseline``: what is known passes, and nothing else does."""

import json

import pytest
from faulty import Layer, simulated, write
from portnet import Net, Rules
from portnet import write as write_port

from tf1bn.cli import main as cli


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    """Run ``tf1bn`` in this process; returns exit code, stdout with single spaces, stderr."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, " ".join(out.split()), err

    return run


@pytest.fixture
def port(tmp_path):
    """A trace of three fused layers, of which two lack Bessel's correction and one has another decay as well."""
    declared = {"decay": 0.9, "fused": True, "shape": (8, 3), "steps": 4}
    layers = {
        "block/one": simulated(Layer(0.9), **declared),
        "block/two": simulated(Layer(0.9), **declared, seed=1),
        "fine": simulated(Layer(0.9, True), **declared),
    }
    write(tmp_path / "port", layers)
    return "port"


def layers_of(path):
    return {layer["name"]: layer for layer in json.loads(path.read_text())["layers"]}


def test_an_accepted_cause_passes_and_is_shown(command, port, tmp_path):
    assert command("audit", port)[0] == 1
    code, out, err = command("audit", port, "--accept", "no-bessel", "--json", "a.json")
    assert (code, err) == (0, "")
    assert "no-bessel (accepted)" in out
    layers = layers_of(tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text())["ok"] is True
    assert [layers[name]["verdict"] for name in layers] == ["ok"] * 3
    (cause,) = layers["block/one"]["causes"]
    assert (cause["id"], cause["severity"], cause["accepted"]) == ("no-bessel", "finding", True)
    assert layers["block/one"]["explanation"].startswith("Accepted: ")


def test_only_in_the_layers_that_are_named(command, port):
    assert command("audit", port, "--accept", "no-bessel:block/*")[0] == 0
    code, out, _ = command("audit", port, "--accept", "no-bessel:block/one")
    assert code == 1
    assert "3 layers: 1 finding, 0 undecidable, 2 ok." in out
    assert "block/two diverges first" not in out.partition("What to do")[0]
    code, out, _ = command("audit", port, "--accept", "no-bessel:*", "--accept", "decay:other")
    assert code == 0
    assert "`--accept decay:other` matches no finding." in out


def test_another_cause_in_the_same_layer_does_not_pass(command, tmp_path):
    declared = {"decay": 0.9, "fused": True, "shape": (8, 3), "steps": 4}
    write(tmp_path / "both", {"bn": simulated(Layer(0.8), **declared)})
    code, out, _ = command("audit", "both", "--accept", "no-bessel")
    assert code == 1
    assert "no-bessel (accepted)" in out


def test_a_baseline_accepts_what_was_there(command, port, tmp_path):
    assert command("audit", port, "--write-baseline", "known.json")[0] == 1
    written = json.loads((tmp_path / "known.json").read_text())
    assert (written["format"], written["version"]) == ("tf1bn-baseline", 1)
    assert written["accepted"] == [{"layer": f"block/{name}", "cause": "no-bessel"} for name in ("one", "two")]
    assert command("audit", port, "--baseline", "known.json")[0] == 0
    written["accepted"] = [written["accepted"][0], {"layer": "gone", "cause": "decay"}]
    (tmp_path / "known.json").write_text(json.dumps(written))
    code, out, _ = command("audit", port, "--baseline", "known.json")
    assert code == 1
    assert "The baseline accepts decay in gone, which is no longer a finding." in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--accept", "besel"), "'besel' is no cause"),
        (("--baseline", "none.json"), "cannot be read"),
        (("--baseline", "bad.json"), "is no baseline"),
        (("--baseline", "entries.json"), "must be a list of layers with causes"),
        (("--baseline", "entries.json", "--write-baseline", "entries.json"), "--write-baseline"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(command, port, tmp_path, arguments, said):
    (tmp_path / "bad.json").write_text("[1")
    (tmp_path / "entries.json").write_text('{"format": "tf1bn-baseline", "version": 1, "accepted": [3]}')
    code, out, err = command("audit", port, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_parity_accepts_too_and_its_file_stays_accepted(command, tmp_path):
    write_port("old")
    write_port("new", Net({"bn2": Rules(bessel=True)}))
    assert command("parity", "old", "new")[0] == 1
    code, out, _ = command("parity", "old", "new", "--accept", "bessel:bn2", "--json", "p.json")
    assert code == 0
    assert "bessel (accepted)" in out
    assert "Accepted: NEW applies Bessel's correction" in out
    assert command("parity", "p.json")[0] == 0
    write_port("worse", Net({"bn2": Rules(bessel=True), "bn3": Rules(epsilon=1e-5)}))
    assert command("parity", "old", "worse", "--accept", "bessel:bn2")[0] == 1
