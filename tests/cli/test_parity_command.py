"""``tf1bn parity``: exit codes, the table, the JSON to be judged again, the page, one sentence for what is wrong."""

import functools
import json
import re
import shutil
from pathlib import Path

import browser
import numpy as np
import pages
import pytest
from portnet import Net, Rules, batches, write

from tf1bn.cli import main as cli
from tf1bn.parity.checkpoints import compare as checkpointparity
from tf1bn.reports import terminal


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with old, same, port (two things wrong), other (other data) and a damaged trace."""
    folder = tmp_path_factory.mktemp("runs")
    write(folder / "old")
    write(folder / "same", Net(Rules(weighted=True)), names=("bn1", "bn2", "bn3", "<b>head"), layout="NCHW")
    write(folder / "port", Net({"bn2": Rules(bessel=True), "bn3": Rules(epsilon=1e-5)}))
    write(folder / "other", data=batches(4, seed=9))
    shutil.copytree(folder / "same", folder / "damaged")
    (folder / "damaged/steps.jsonl").write_text("{\n")
    (folder / "folder").mkdir()
    shutil.copytree(folder / "same", folder / "both")
    (folder / "both/checkpoint").touch()
    for name, variance in (("a", 1.0), ("b", 1.0), ("c", np.nan)):
        np.savez(folder / name, **{"bn/moving_mean": np.arange(3.0), "bn/moving_variance": [1, variance, 1]})
    return folder


@pytest.fixture
def command(capsys, monkeypatch, runs):
    """Run ``tf1bn parity`` in this process; returns exit code, stdout with single spaces, stderr."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(runs)

    def run(*arguments):
        code = cli.main(["parity", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, " ".join(out.split()), err

    return run


def test_parity_is_success(command, tmp_path):
    code, out, err = command("old", "same", "--json", tmp_path / "p.json")
    assert (code, err) == (0, "")
    assert out.startswith("The data is the same: the first layer's inputs are equal bit for bit.")
    assert "bn4 -> <b>head (guess) ok" in out
    assert "renamed (advisory)" in out
    assert out.endswith("old -> same: 4 layers: 0 finding, 0 undecidable, 4 ok.")
    found = json.loads((tmp_path / "p.json").read_text())
    assert (found["format"], found["kind"], found["ok"], found["problems"]) == ("tf1bn-parity", "traces", True, [])
    for layer in found["layers"]:
        assert {"name", "old", "new", "matched", "verdict", "causes", "checks"} <= layer.keys()


def test_findings_come_first_and_the_first_to_diverge_is_marked(command, tmp_path):
    code, out, _ = command("old", "port", "--json", tmp_path / "p.json")
    assert code == 1
    assert "old -> port: 4 layers: 2 finding, 0 undecidable, 2 ok." in out
    assert out.index("diverges first") < out.index("bn3") < out.index("bn1")
    assert out.count("diverges first") == 1
    assert "epsilon" in out
    quiet = command("old", "port", "--quiet")[1]
    assert "bn1" not in quiet
    assert "2 ok" in quiet
    found = json.loads((tmp_path / "p.json").read_text())
    assert found["ok"] is False
    assert [layer["first"] for layer in found["layers"]] == [False, True, False, False]


def test_a_narrow_terminal_gets_paragraphs(command, monkeypatch):
    monkeypatch.setattr(terminal, "console", functools.partial(terminal.console, width=79))
    _, out, _ = command("old", "port")
    assert "bn2: finding, diverges first, bessel NEW applies Bessel's correction" in out
    assert "explanation" not in out


def test_other_data_is_no_success(command):
    code, out, _ = command("old", "other")
    assert code == 2
    assert out.startswith("The data is not the same")
    assert out.count("The data is not the same") == 1


def test_a_layer_alone(command):
    code, out, _ = command("old", "port", "--layer", "bn[14]")
    assert code == 0
    assert "2 layers: 0 finding, 0 undecidable, 2 ok." in out
    assert command("old", "port", "--layer", "bn3")[0] == 1
    code, out, err = command("old", "port", "--layer", "conv*")
    assert (code, out) == (2, "")
    assert "matches none of OLD's 4 layers." in err


def test_a_map(command, tmp_path):
    (tmp_path / "map.json").write_text('{"bn4": "<b>head"}')
    code, out, _ = command("old", "same", "--map", tmp_path / "map.json")
    assert code == 0
    assert "(map)" in out
    (tmp_path / "map.json").write_text('{"bn4": "head"}')
    code, out, err = command("old", "same", "--map", tmp_path / "map.json")
    assert (code, out) == (2, "")
    assert "which is no layer of NEW" in err


def test_a_map_of_checkpoints_names_layers_and_no_options(command, tmp_path):
    statistics = {"bn1/moving_mean": np.zeros(2, "<f4"), "bn1/moving_variance": np.ones(2, "<f4")}
    np.savez(tmp_path / "a.npz", **statistics)
    (tmp_path / "map.json").write_text('{"bn1": "bn11"}')
    code, _, err = command(tmp_path / "a.npz", tmp_path / "a.npz", "--map", tmp_path / "map.json")
    assert code == 2
    assert err.endswith("NEW has 'bn1'. Did you mean `bn1`?\n")
    err = command(tmp_path / "a.npz", tmp_path / "a.npz", "--epsilon", "-1")[2]
    assert err.startswith("tf1bn parity: `--epsilon` is")


def test_a_result_is_judged_again(command, tmp_path):
    command("old", "port", "--json", tmp_path / "p.json")
    first = command("old", "port")
    again = command(tmp_path / "p.json", "--json", tmp_path / "again.json", "--html", tmp_path / "again.html")
    assert again == first
    assert (tmp_path / "again.json").read_text() == (tmp_path / "p.json").read_text()
    assert "bessel" in (tmp_path / "again.html").read_text()
    found = json.loads((tmp_path / "p.json").read_text())
    for layer in found["layers"]:
        layer["causes"] = [cause for cause in layer["causes"] if cause["id"] != "bessel"]
    (tmp_path / "changed.json").write_text(json.dumps(found))
    code, out, _ = command(tmp_path / "changed.json")
    assert code == 1
    assert "unexplained" in out
    assert command(tmp_path / "p.json", "--layer", "bn1")[0] == 0


def test_the_page(command, tmp_path):
    code, _, err = command("old", "port", "--html", tmp_path / "p.html")
    assert (code, err) == (1, "")
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "<title>Parity of port with old</title>" in text
    assert "NEW does not do what OLD does in 2 of 4 layers: bn2 diverges first." in text
    assert text.count("<svg") == 4  # two statistics of the two layers that are not ok
    assert "Observed is NEW" in text
    assert "estimate of the epsilon in NEW" in text
    assert not re.search(r"https?://|src=", text)
    command("old", "port", "--html", tmp_path / "p.html", "--plots", "all")
    assert (tmp_path / "p.html").read_text(encoding="utf-8").count("<svg") == 8
    command("old", "same", "--html", tmp_path / "q.html")
    text = (tmp_path / "q.html").read_text(encoding="utf-8")
    assert "NEW does what OLD does in all 4 layers." in text
    assert "<b>head" not in text


@browser.needed
def test_a_browser_shows_the_page(command, tmp_path):
    command("old", "port", "--html", tmp_path / "p.html")
    done = browser.dumped(tmp_path / "p.html", tmp_path / "profile")
    assert "bn2 diverges first" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("old",), "NEW is missing; give two traces or checkpoints"),
        (("old", "missing"), "NEW is 'missing', which does not exist"),
        (("folder", "old"), "OLD is 'folder', a folder without a trace.json"),
        (("old", "damaged"), "in line 1 of steps.jsonl"),
        (("old/trace.json", "same"), "compare two traces or two checkpoints"),
        (("old/trace.json",), "not of the format 'tf1bn-parity'"),
        (("old/arrays/none",), "cannot be read: No such file"),
        (("old", "same", "--json", "nowhere/p.json"), "`--json` is 'nowhere/p.json'"),
        (("old", "same", "--json", "p", "--html", "p"), "`--json` and `--html` are both"),
        (("old", "same", "--map", "missing.json"), "`--map` is 'missing.json', which cannot be read"),
        (("old/trace.json", "--map", "m.json"), "NEW is missing"),
        (("old/trace.json", "--only", "training"), "`--only` is for comparing OLD with NEW"),
        (("a.npz", "a.npz", "--only", "training"), "`--only` is 'training', which is for traces"),
        (("old", "same", "--json", "old/steps.jsonl"), "is 'old/steps.jsonl', in the folder that is read as OLD"),
        (("a.npz", "b.npz", "--html", "folder/../b.npz"), "a file that is read as NEW"),
        (("old", "same", "--map", "a.npz", "--json", "a.npz"), "a file that is read as --map"),
        (("both", "both"), "name the checkpoint's prefix"),
        (("a.npz", "old"), "OLD is a checkpoint and NEW is a trace"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(command, arguments, text):
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("tf1bn parity: ")
    assert text in err
    assert err.count("\n") == 1


def test_the_page_of_checkpoints_has_the_numbers(command, tmp_path):
    assert command("a.npz", "c.npz", "--html", tmp_path / "p.html")[0] == 1
    page = pages.Page((tmp_path / "p.html").read_text())
    assert page.cells == ["1 bn finding not-finite 3 moving variance: 1 of 3 channels"]
    assert "moving variance bn/moving_variance bn/moving_variance 3 1 - 1 1 not finite" in page.text
    assert "moving mean bn/moving_mean bn/moving_mean 3 0 0 - - -" in page.text


def test_plots_are_of_the_page(command):
    code, out, err = command("old", "same", "--plots", "all")
    assert (code, out) == (2, "")
    assert err.startswith(
        "tf1bn parity: `--plots` is 'all', which is for the page, and there is none; give --html FILE."
    )


def test_a_folder_with_both_is_what_the_other_is(command):
    assert command("old", "both")[0] == 0
    code, _, err = command("a.npz", "both")
    assert code == 2
    assert "is a trace" not in err


def test_a_folder_that_the_audit_takes_is_a_checkpoint(command):
    models = Path(__file__).parents[1] / "golden/tfjs"
    code, out, err = command(models / "layers", models / "layers/model.json")
    assert (code, err) == (0, "")
    assert out.endswith(" 0 finding, 0 undecidable, 1 ok.")
    assert "OLD is a trace and NEW is a checkpoint" in command("old", models / "layers")[2]


def test_checkpoints_go_to_their_own_comparison(command, monkeypatch, tmp_path):
    """`compare_checkpoints` gives the same form of result."""
    (tmp_path / "a.npz").touch()
    (tmp_path / "b.npz").touch()
    asked = []

    def compare_checkpoints(old, new, mapping=None, **options):
        assert options == {"ulp": 0, "epsilon": None}
        asked.append((old, new, mapping))
        cause = {"id": "missing-variable", "severity": "finding", "explanation": "No gamma.", "misfit": None}
        return {
            "format": "tf1bn-parity",
            "kind": "checkpoints",
            "ok": False,
            "old": old,
            "new": new,
            "problems": [],
            "layers": [
                {"name": "a", "old": "a", "new": "a", "matched": "name", "verdict": "finding", "causes": [cause]},
                {"name": "b", "old": "b", "new": "b", "matched": "guess", "verdict": "ok", "causes": []},
            ],
        }

    monkeypatch.setattr(checkpointparity, "compare_checkpoints", compare_checkpoints)
    (tmp_path / "map.json").write_text('{"a": "b"}')
    pair = tmp_path / "a.npz", tmp_path / "b.npz"
    code, out, err = command(*pair, "--map", tmp_path / "map.json", "--html", tmp_path / "p.html")
    assert (code, err) == (1, "")
    assert asked == [(str(pair[0]), str(pair[1]), {"a": "b"})]
    assert "No gamma." in out
    assert "No gamma." in (tmp_path / "p.html").read_text()
    assert command(*pair, "--layer", "b")[0] == 0
