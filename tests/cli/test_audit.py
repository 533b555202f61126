"""``tf1bn audit``: exit codes, the table, the JSON, and one sentence for whatever is wrong with a trace."""

import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import traces
from faulty import Layer, record

from tf1bn import trace, verdicts
from tf1bn.cli import main as cli
from tf1bn.diagnosis import conclude
from tf1bn.diagnosis import engine as diagnosis
from tf1bn.reports import curves

RECORDINGS = Path(__file__).parents[1] / "golden/traces"


@pytest.fixture
def command(capsys, monkeypatch):
    """Run ``tf1bn`` in this process; returns exit code, stdout with single spaces, stderr."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, " ".join(out.split()), err

    return run


def of_layers(path, layers):
    """A trace of several layers, from those of ``record`` by name."""
    opened = {}
    for i, (name, (arguments, more)) in enumerate(layers.items()):
        opened[name] = record(path.parent / f"{path.name}-{i}", *arguments, **more)
    with trace.Writer(path) as writer:
        for name, one in opened.items():
            writer.add_layer(name, one.layers["bn"])
        for steps in zip(*opened.values(), strict=True):
            values = {}
            for name, step in zip(opened, steps, strict=True):
                values[name] = {key: getattr(step.layers["bn"], key) for key in (*traces.AROUND, "inputs")}
            writer.add_step(values, training=True)
    return path


def test_all_is_well(command, tmp_path):
    record(tmp_path / "t", Layer(0.9), decay=0.9)
    code, out, err = command("audit", tmp_path / "t", "--json", tmp_path / "a.json")
    assert (code, err) == (0, "")
    assert "bn ok" in out
    assert "1 layer: 0 finding, 0 undecidable, 1 ok." in out
    found = json.loads((tmp_path / "a.json").read_text())
    assert (found["format"], found["ok"]) == ("tf1bn-audit", True)
    (layer,) = found["layers"]
    assert (layer["name"], layer["verdict"], layer["causes"], layer["steps"]) == ("bn", "ok", [], 4)
    for name in ("mean", "variance"):
        assert 0 <= layer[f"{name}_error"] <= layer[f"{name}_bound"]


def test_a_finding_is_named_and_comes_first(command, tmp_path):
    of_layers(
        tmp_path / "t",
        {
            "a[b]/fine": ((Layer(0.9),), {"decay": 0.9}),
            "b": ((Layer(0.9, True),), {"decay": 0.9}),
            "c": ((Layer(0.999, True),), {"decay": 0.999, "start": "cold", "fused": True}),
        },
    )
    code, out, _ = command("audit", tmp_path / "t", "--json", tmp_path / "a.json")
    assert code == 1
    assert "3 layers: 1 finding, 0 undecidable, 2 ok." in out
    assert out.index("Bessel") < out.index("a[b]/fine")
    assert "cold-start (advisory)" in out
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["ok"] is False
    assert [(layer["name"], layer["verdict"]) for layer in found["layers"]] == [
        ("a[b]/fine", "ok"),
        ("b", "finding"),
        ("c", "ok"),
    ]
    (cause,) = found["layers"][1]["causes"]
    assert set(cause) == {"id", "severity", "explanation", "misfit", "remedy"}
    assert (cause["id"], cause["severity"]) == ("bessel", "finding")
    assert cause["misfit"] < 1
    assert found["layers"][1]["variance_error"] > found["layers"][1]["variance_bound"]

    code, out, _ = command("audit", tmp_path / "t", "--quiet")
    assert code == 1
    assert "a[b]/fine" not in out
    code, out, _ = command("audit", tmp_path / "t", "--layer", "c")
    assert code == 0
    assert "1 layer: 0 finding, 0 undecidable, 1 ok." in out
    code, out, err = command("audit", tmp_path / "t", "--layer", "conv*")
    assert (code, out) == (2, "")
    assert "matches none of the 3 layers." in err


def test_what_is_undecidable_is_no_success(command, tmp_path):
    record(tmp_path / "t", Layer(0.999), decay=0.999, shape=(50_000, 2), steps=1, fused=None)
    code, out, _ = command("audit", tmp_path / "t", "--json", tmp_path / "a.json")
    assert code == 2
    assert "bn undecidable" in out
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["ok"] is False
    assert found["layers"][0]["causes"] == []
    assert "would" in found["layers"][0]["explanation"]


def test_nothing_judged_is_no_success(command, tmp_path):
    with trace.Writer(tmp_path / "empty"):
        pass
    with trace.Writer(tmp_path / "no-steps") as writer:
        writer.add_layer("bn", decay=0.9, epsilon=0.001)
    with trace.Writer(tmp_path / "hidden") as writer:
        writer.add_layer("bn", decay=0.9, epsilon=0.001, unrecordable="It is inside a cond.")
    for name, text in (("empty", "nothing was judged"), ("no-steps", "No step"), ("hidden", "It is inside a cond.")):
        code, out, _ = command("audit", tmp_path / name, "--json", tmp_path / "a.json")
        assert code == 2
        assert text in out
        assert json.loads((tmp_path / "a.json").read_text())["ok"] is False


def test_an_unrecordable_layer_does_not_hide_a_finding(command, tmp_path):
    record(tmp_path / "t", Layer(0.9, True), decay=0.9)
    head = json.loads((tmp_path / "t/trace.json").read_text())
    head["layers"]["other"] = {**head["layers"]["bn"], "unrecordable": "It is inside a cond."}
    (tmp_path / "t/trace.json").write_text(json.dumps(head))
    assert command("audit", tmp_path / "t")[0] == 1
    assert command("audit", tmp_path / "t", "--layer", "other")[0] == 2


def damaged(path, how):
    head, lines = traces.foreign(path)
    if how == "cut":
        file = path / "arrays/1-in.npy"
        file.write_bytes(file.read_bytes()[:200])
    elif how == "missing":
        (path / "arrays/1-vectors.npy").unlink()
    elif how == "json":
        (path / "steps.jsonl").write_text("{\n")
    elif how == "version":
        traces.put(path, head | {"version": 9}, lines)
    elif how == "outside":
        lines[1]["layers"]["bn"]["inputs"] = ["../../etc/passwd"]
        traces.put(path, head, lines)
    elif how == "channels":
        np.save(path / "arrays/1-in.npy", np.zeros((4, 2, 2, 5), np.float32))
    elif how == "weights":
        np.save(path / "arrays/w.npy", np.full(4, -1.0))
        lines[1]["layers"]["bn"]["weights"] = ["arrays/w.npy"]
        traces.put(path, head, lines)
    elif how == "no head":
        (path / "trace.json").unlink()


@pytest.mark.parametrize("how", ["cut", "missing", "json", "version", "outside", "channels", "weights", "no head"])
def test_damage_is_one_sentence_and_exit_2(command, tmp_path, how):
    damaged(tmp_path / "t", how)
    code, out, err = command("audit", tmp_path / "t", "--json", tmp_path / "a.json")
    assert (code, out) == (2, "")
    assert err.startswith("tf1bn audit: ")
    assert err.count("\n") == 1
    assert "not foreseen" not in err
    written = json.loads((tmp_path / "a.json").read_text())
    assert (written["ok"], written["status"], written["layers"]) == (False, "failed", [])
    assert written["problems"][0] in err


CHECKPOINTS = Path(__file__).parents[1] / "golden/checkpoints"


def test_a_checkpoint_is_judged_by_its_values(command, tmp_path):
    data, page = tmp_path / "a.json", tmp_path / "a.html"
    for path in (CHECKPOINTS / "fused_gamma", CHECKPOINTS / "fused_gamma-V1"):
        code, out, err = command("audit", path, "--json", data, "--html", page)
        assert (code, err) == (0, ""), out
        found = json.loads(data.read_text())
        assert (found["format"], found["ok"]) == ("tf1bn-audit", True)
        assert [layer["verdict"] for layer in found["layers"]] == ["ok"] * len(found["layers"])
        assert {(layer["steps"], layer["mean_bound"]) for layer in found["layers"]} == {(0, None)}
        assert found["layers"][0]["name"] in page.read_text(encoding="utf-8")
    fresh = {"a/bn/moving_mean": np.zeros(4), "a/bn/moving_variance": np.ones(4), "a/bn/beta": np.zeros(4)}
    trained = {f"b/bn/{name}": np.linspace(0.5, 1.7, 4) / 3 for name in ("moving_mean", "moving_variance", "beta")}
    np.savez(tmp_path / "w.npz", **fresh, **trained)
    code, out, _ = command("audit", tmp_path / "w.npz")
    assert code == 1
    assert "a/bn finding not-updated" in out
    assert "ok: b/bn" in out
    code, out, _ = command("audit", tmp_path / "w.npz", "--layer", "b/*", "--quiet")
    assert (code, "a/bn" in out) == (0, False)
    before = (tmp_path / "w.npz").read_bytes()
    code, out, err = command("audit", tmp_path / "w.npz", "--json", tmp_path / "w.npz")
    assert (code, out) == (2, "")
    assert "a file that is read as PATH" in err
    assert (tmp_path / "w.npz").read_bytes() == before
    code, _, err = command("audit", tmp_path / "w.npz", "--layer", "c/*")
    assert code == 2
    assert "matches none of the 2 layers" in err


def test_a_checkpoint_without_a_layer_is_no_success(command, tmp_path):
    np.savez(tmp_path / "w.npz", weights=np.ones((3, 3)))
    code, out, _ = command("audit", tmp_path / "w.npz", "--json", tmp_path / "a.json")
    assert code == 2
    assert "belongs to a batch-norm layer, so nothing was judged." in out
    assert json.loads((tmp_path / "a.json").read_text())["ok"] is False


def test_what_is_no_trace(command, tmp_path):
    (tmp_path / "ckpt").mkdir()
    (tmp_path / "ckpt/checkpoint").write_text("")
    (tmp_path / "ckpt/model.index").write_text("")
    (tmp_path / "w.npz").write_bytes(b"PK")
    (tmp_path / "notes.txt").write_text("no checkpoint")
    for path in ("ckpt", "ckpt/model", "w.npz", "notes.txt"):
        code, out, err = command("audit", tmp_path / path)
        assert (code, out) == (2, "")
        assert err.startswith("tf1bn audit: ")
        assert err.count("\n") == 1
        assert "not foreseen" not in err
    code, _, err = command("audit", tmp_path / "nothing")
    assert code == 2
    assert "does not exist; give a trace, a checkpoint or a graph." in err
    code, _, err = command("audit", tmp_path, "--json", "/nowhere/a.json")
    assert code == 2
    assert "there is no folder '/nowhere'" in err
    assert command("audit")[0] == 2


def test_a_step_that_was_not_finished_is_not_judged(command, tmp_path):
    record(tmp_path / "t", Layer(0.9), decay=0.9)
    with open(tmp_path / "t/steps.jsonl", "a") as file:
        file.write('{"step": 9, "tr')
    assert command("audit", tmp_path / "t")[0] == 0


def test_recordings(command):
    code, out, _ = command("audit", RECORDINGS / "tf-1.15.5-python-3.7/default")
    assert code == 0
    assert "cold-start (advisory)" in out


def test_interrupted(command, tmp_path, monkeypatch):
    record(tmp_path / "t", Layer(0.9), decay=0.9)
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:

        def interrupts(*arguments, **more):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)

        monkeypatch.setattr("tf1bn.diagnosis.diagnose", interrupts)
        code, out, err = command("audit", tmp_path / "t", "--json", tmp_path / "a.json")
    finally:
        signal.signal(signal.SIGINT, inherited)
    assert (code, out, err) == (130, "", "")
    assert not (tmp_path / "a.json").exists()


def test_no_tensorflow_is_imported(tmp_path):
    record(tmp_path / "t", Layer(0.9), decay=0.9)
    code = (
        "import sys; from tf1bn.cli import main as cli; status = cli.main(['audit', sys.argv[1]]);"
        "assert 'tensorflow' not in sys.modules; sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "t"], capture_output=True, text=True, cwd=RECORDINGS.parents[2]
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_ok_is_true_at_0_alone():
    def made(*verdicts):
        return conclude.audit_result([diagnosis.Diagnosis("bn", verdict, (), "") for verdict in verdicts])

    for given, code in (
        (("ok", "ok"), 0),
        (("ok", "undecidable"), 2),
        (("undecidable", "finding", "ok"), 1),
        ((), 2),
    ):
        found = made(*given)
        exits = verdicts.exit_code(found["ok"], [layer["verdict"] for layer in found["layers"]])
        assert (exits, found["ok"]) == (code, code == 0)


def test_memory_does_not_grow_with_the_steps(tmp_path):
    """A trace of 64 MB is audited in a process that may take 32 MB more than it had."""
    with trace.Writer(tmp_path / "t") as writer:
        writer.add_layer("bn", decay=0.9, epsilon=0.001, fused=False)
        rng = np.random.default_rng(0)
        moving = np.zeros(16), np.ones(16)
        for _ in range(32):
            x = rng.normal(1, 2, (2**15, 16)).astype(np.float32)
            flat = x.astype(np.float64)
            after = moving[0] * 0.9 + 0.1 * flat.mean(axis=0), moving[1] * 0.9 + 0.1 * flat.var(axis=0)
            values = {
                f"moving_{name}_{when}": one[i].astype(np.float32)
                for when, one in (("before", moving), ("after", after))
                for i, name in enumerate(("mean", "variance"))
            }
            writer.add_step({"bn": {"inputs": [x], **values}}, training=True)
            moving = tuple(one.astype(np.float32).astype(np.float64) for one in after)
    code = (
        "import sys, tracemalloc; from tf1bn import diagnosis, trace;"
        "opened = trace.open(sys.argv[1]); tracemalloc.start();"
        "(result,) = diagnosis.diagnose(opened); assert result.verdict == 'ok', result;"
        "print(tracemalloc.get_traced_memory()[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "t"], capture_output=True, text=True, check=True,
                          cwd=RECORDINGS.parents[2])  # fmt: skip
    assert int(done.stdout) < 2**25
    shutil.rmtree(tmp_path / "t")


def three_layers(path):
    """A trace of three layers, of which two do otherwise than they declare."""
    return of_layers(
        path,
        {
            "conv1/bn": ((Layer(0.9),), {"decay": 0.9, "seed": 1}),
            "conv2/bn": ((Layer(0.99, True),), {"decay": 0.99, "shape": (8, 4, 4, 3), "seed": 2}),
            "dense/bn": ((Layer(0.1),), {"decay": 0.9, "shape": (32, 5), "fused": None, "seed": 3}),
        },
    )


def test_the_table_of_three_layers(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "100")
    three_layers(tmp_path / "run.trace")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["audit", "run.trace"]) == 1
    out = capsys.readouterr().out
    rows = [line.split()[:3] for line in out.splitlines() if "/bn  " in line]
    assert rows == [
        ["conv2/bn", "finding", "bessel"],
        ["dense/bn", "finding", "momentum-flipped"],
    ]
    assert re.search(r"^ok: conv1/bn \(largest error \d+ % of its bound\)$", out, re.MULTILINE)
    assert out.count("in step 0") >= 2
    assert "N/(N-1) = 128/127" in " ".join(out.split())
    assert "`conv2/bn` diverges first, in step 0." in out
    assert "run.trace: 3 layers: 2 finding, 0 undecidable, 1 ok." in out


def test_the_page_plots_what_was_observed_and_expected(command, tmp_path):
    path = of_layers(
        tmp_path / "t",
        {"well": ((Layer(0.9),), {"decay": 0.9}), "<b>port</b>": ((Layer(0.1),), {"decay": 0.9})},
    )
    page, data = tmp_path / "a.html", tmp_path / "a.json"
    code, _, err = command("audit", path, "--html", page, "--json", data)
    assert (code, err) == (1, "")
    text = page.read_text(encoding="utf-8")
    assert "momentum-flipped" in text
    assert "<b>port" not in text
    assert text.count("<svg") == 2  # two statistics of the layer that is not ok
    assert command("audit", path, "--html", page, "--plots", "all")[0] == 1
    assert page.read_text(encoding="utf-8").count("<svg") == 4
    assert "`--plots` is 'none', which is for the page" in command("audit", path, "--plots", "none")[2]
    assert "curves" not in data.read_text()
    with curves.Curves() as kept:
        diagnosis.diagnose(trace.open(path), curves=kept)
        seen = kept.of("<b>port</b>")
    for i, name in enumerate(curves.STATISTICS):
        curve = seen[name]
        assert curve["step"] == [0, 1, 2, 3]
        for number, step in enumerate(trace.open(path)):
            record = step.layers["<b>port</b>"]
            before = [record.moving_mean_before, record.moving_variance_before][i].astype(np.float64)
            after = [record.moving_mean_after, record.moving_variance_after][i]
            batch = np.concatenate([array.reshape(-1, array.shape[-1]) for array in record.inputs]).astype(np.float64)
            moment = [batch.mean(axis=0), batch.var(axis=0)][i]
            expected = before - (before - moment) * (1 - 0.9)
            channel = curve["channel"]
            assert curve["observed"][number] == after[channel]
            assert curve["expected"][number] == pytest.approx(expected[channel], rel=1e-9, abs=1e-12)
            assert 0 < curve["expected_error"][number] <= curve["worst_case"][number]
            assert curve["worst_case"][number] < abs(after[channel] - expected[channel])


def test_the_trace_is_read_once(command, tmp_path, monkeypatch):
    record(tmp_path / "t", Layer(0.9), decay=0.9)
    times = []

    def steps(self, each=trace.Trace.__iter__):
        times.append(1)
        yield from each(self)

    monkeypatch.setattr(trace.Trace, "__iter__", steps)
    assert command("audit", tmp_path / "t", "--html", tmp_path / "a.html")[0] == 0
    assert len(times) == 1


@pytest.mark.slow
def test_what_is_plotted_may_be_more_than_goes_into_memory(command, tmp_path, monkeypatch):
    path, pages = (
        of_layers(
            tmp_path / "t", {name: ((Layer(decay),), {"decay": 0.9}) for name, decay in (("a", 0.9), ("b", 0.5))}
        ),
        [],
    )
    for held in (curves.MEMORY_BYTES, 100):
        monkeypatch.setattr(curves, "MEMORY_BYTES", held)
        assert command("audit", path, "--html", tmp_path / "a.html")[0] == 1
        pages.append((tmp_path / "a.html").read_bytes())
    assert pages[0] == pages[1]
    # One for each statistic of the layer that is not ok.
    assert pages[0].count(b"<svg") == 2


def test_no_room_for_what_is_plotted_is_one_sentence(command, tmp_path, monkeypatch):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    record(tmp_path / "t", Layer(0.9), decay=0.9)
    monkeypatch.setattr("tempfile.SpooledTemporaryFile", lambda max_size: Full())
    code, out, err = command("audit", tmp_path / "t", "--html", tmp_path / "a.html")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "No space left on device" in err
    assert "TMPDIR" in err
    assert not (tmp_path / "a.html").exists()


def test_page_and_json_must_be_two_files(command, tmp_path):
    record(tmp_path / "t", Layer(0.9), decay=0.9)
    path = tmp_path / "a"
    code, out, err = command("audit", tmp_path / "t", "--html", path, "--json", path)
    assert (code, out) == (2, "")
    assert "`--json` and `--html` are both" in err
    assert not path.exists()


def test_a_page_that_cannot_be_written_is_one_sentence(command, tmp_path):
    record(tmp_path / "t", Layer(0.9), decay=0.9)
    code, out, err = command("audit", tmp_path / "t", "--html", tmp_path / "missing" / "a.html")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "--html" in err
