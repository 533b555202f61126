"""The command: exit codes, one-sentence errors, files, and the report."""

import contextlib
import copy
import dataclasses
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiers
from sabotage import bessel, no_update

import tf1bn
from tf1bn import errors
from tf1bn._util import command as command_module
from tf1bn._util import files, strict_json
from tf1bn.cli import main as cli
from tf1bn.reports import terminal
from tf1bn.reproduce import article, devices, experiment, listing_check, plot, report, run_and_check

QUICK = ["--steps", "20"]


@pytest.fixture
def command(capsys, monkeypatch):
    """Run ``tf1bn`` in this process; returns exit code, stdout, stderr."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments):
        code = cli.main(list(arguments))
        return (code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """The JSON of a default run with fewer steps."""
    path = tmp_path_factory.mktemp("json") / "reproduce.json"
    assert cli.main(["reproduce", "--steps", "50", "--json", str(path)]) == 0
    return json.loads(path.read_text(encoding="utf-8"))


def test_json_has_the_documented_keys(result):
    assert result["format"] == "tf1bn-reproduce"
    assert result["ok"] is True
    assert set(result["device"]) == {"requested", "used", "details"}
    assert (result["variants"], result["side_by_side"]) == ([], [])
    assert [(run["decay"], run["fused"], run["input"]) for run in result["runs"]] == [
        (0, False, "article"),
        (1, False, "article"),
    ]
    for run in result["runs"]:
        assert [phase["name"] for phase in run["phases"]] == ["train", "test"]
        for phase in run["phases"]:
            assert len(phase["output"]) == 16
            assert {f"moving_{s}_{w}" for s in ("mean", "variance") for w in ("before", "after")} <= set(phase)
        assert {"mean", "variance", "mean_bound", "variance_bound", "agrees"} <= set(run["checker"])
        assert run["checker"]["agrees"] is True
        assert run["article"]["agrees"] is True
    assert [(row["id"], row["holds"]) for row in result["conclusions"]] == [(i, True) for i in range(1, 5)]
    assert all(row["evidence"] for row in result["conclusions"])
    assert [row["release"] for row in result["releases"]] == ["1.3", "1.15"]
    assert {"decay", "steps", "mean", "variance", "test_error", "steps_to_99"} <= set(result["sweep"][0])
    assert [row["decay"] for row in result["sweep"]] == [0, 0.5, 0.9, 0.99, 0.999, 1]


def test_every_printed_number_is_met(result):
    """All 64 outputs and the statistics, from the JSON alone, to twice the unit in the last place of float32 data.

    One ulp of an output of 223 is 1.5e-5 and one ulp of the variance 5496.6 is 4.9e-4; training outputs inherit the
    rounding of an input of at most 256, u * 256 / sqrt(variance), besides their own.
    """
    for run, printed in zip(result["runs"], article.EXPERIMENTS, strict=True):
        sigma = np.sqrt(np.var(printed.batch().astype(np.float64)))
        for phase, expected in zip(run["phases"], (printed.training_output, printed.test_output), strict=True):
            scale = 256 / sigma if max(map(abs, expected)) < 3 else 256
            assert np.abs(np.array(phase["output"]) - expected).max() <= 2 * 2.0**-24 * scale
        test = run["phases"][1]
        assert abs(test["moving_mean_after"][0] - printed.moving_mean) <= np.spacing(np.float32(115))
        assert abs(test["moving_variance_after"][0] - printed.moving_variance) <= np.spacing(np.float32(5500))
        assert run["article"]["max_output_difference"] == max(
            np.abs(np.array(phase["output"]) - expected).max()
            for phase, expected in zip(run["phases"], (printed.training_output, printed.test_output), strict=True)
        )


def test_further_runs_come_after_the_articles(command, tmp_path):
    path = tmp_path / "r.json"
    code, out, _ = command(
        "reproduce", *QUICK, "--decay", "0.9", "--decay", "0.25", "--input", "random", "--shape", "5,3,2",
        "--seed", "7", "--json", str(path), "--release", "1.15",
    )  # fmt: skip
    assert code == 0
    result = json.loads(path.read_text())
    assert [run["decay"] for run in result["runs"]] == [0, 1, 0.9, 0.25]
    assert [run["input"] for run in result["runs"]] == ["article"] * 2 + ["random"] * 2
    # rank 3 is never fused, whatever the release's default
    assert [run["fused"] for run in result["runs"]] == [False] * 4
    assert [run["release"] for run in result["runs"]] == ["1.3"] * 2 + ["1.15"] * 2
    assert all(run["article"] is None for run in result["runs"][2:])
    assert len(result["runs"][2]["phases"][0]["output"]) == 30
    assert [row["decay"] for row in result["sweep"]] == [0.9, 0.25]
    assert "random input 5x3x2" in out


@pytest.mark.parametrize(
    ("arguments", "fused"),
    tiers.slow_after(
        3,
        [
            (["--release", "1.15"], True),
            (["--release", "1.3"], None),  # exactly the article's own runs: nothing further
            (["--release", "1.0"], False),
            (["--release", "1.4"], True),
            (["--release", "1.15", "--fused", "false"], False),
            (["--fused", "true"], True),
            (["--input", "random", "--shape", "6,4", "--fused", "true"], True),
            (["--decay", "0.5"], False),
        ],
    ),
)
def test_the_asked_for_layer_is_the_one_that_ran(command, tmp_path, arguments, fused):
    path = tmp_path / "r.json"
    assert command("reproduce", *QUICK, *arguments, "--json", str(path))[0] == 0
    further = json.loads(path.read_text())["runs"][2:]
    assert {run["fused"] for run in further} == (set() if fused is None else {fused})
    if "--release" in arguments:
        assert {run["release"] for run in further} <= {arguments[arguments.index("--release") + 1]}


@pytest.mark.slow
def test_the_seed_decides_the_random_input(command, tmp_path):
    outputs = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        path = tmp_path / name
        assert command("reproduce", *QUICK, "--input", "random", "--seed", seed, "--json", str(path))[0] == 0
        outputs.append(json.loads(path.read_text())["runs"][2]["phases"][0]["output"])
    assert outputs[0] == outputs[1] != outputs[2]


def test_one_value_per_channel_is_said(command):
    code, out, _ = command("reproduce", *QUICK, "--input", "random", "--shape", "1,1,1,3")
    assert code == 0
    assert "one value per channel" in " ".join(out.split())


@pytest.mark.parametrize("layer", [no_update, bessel])
def test_a_sabotaged_layer_is_a_finding(command, tmp_path, monkeypatch, layer):
    path = tmp_path / "r.json"
    real = experiment.run_listing
    monkeypatch.setattr(experiment, "run_listing", lambda spec, device: real(spec, device, layer))
    code, out, _ = command("reproduce", *QUICK, "--json", str(path))
    assert code == 1
    result = json.loads(path.read_text())
    assert result["ok"] is False
    assert result["problems"]
    assert "NOT reproduced" in out
    assert " NO" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--decay", "1.5"], "`decay` is '1.5'; it must be a number from 0 to 1"),
        (["--decay", "-0.1"], "`decay` is '-0.1'; it must be a number from 0 to 1"),
        (["--decay", "nan"], "`decay` is 'nan'; it must be a number from 0 to 1"),
        (["--decay", "high"], "`decay` is 'high'; it must be a number from 0 to 1"),
        (["--steps", "0"], "`steps` is '0'; it must be a whole number from 1 to"),
        (["--steps", "ten"], "`steps` is 'ten'; it must be a whole number"),
        (["--input", "zeros"], "invalid choice: 'zeros'"),
        (["--input", "random", "--seed", "-1"], "`seed` is '-1'; it must be a whole number"),
        (["--input", "random", "--shape", "4"], "`shape` is '4'; it must be two to eight whole numbers"),
        (["--input", "random", "--shape", "4,x"], "`shape` is '4,x'; it must be two to eight whole numbers"),
        (
            ["--input", "random", "--shape", "0,4,4,1"],
            "`shape` is '0,4,4,1'; its numbers must be at least 1, for an empty batch",
        ),
        (["--input", "random", "--shape", "4,4,4,0"], "no channels have no statistics"),
        (["--input", "random", "--shape", "99999,99999,9"], "it must be at most 268435456 numbers"),
        (
            ["--input", "random", "--shape", "2,3,4", "--fused", "true"],
            "`--shape` has rank 3; the fused layer takes",
        ),
        (["--shape", "4,4"], "add `--input random`"),
        (["--seed", "4"], "add `--input random`"),
        (["--release", "2.0"], "`release` is '2.0'; it must be a TensorFlow release from '1.0' to '1.15'"),
        (["--device", "tpu"], "invalid choice: 'tpu'"),
        (["--plot", "sweep.gif"], "`--plot` is 'sweep.gif'; it must be a file name that ends in .png or .svg"),
        (
            ["--plot", "/nowhere/sweep.png"],
            "`--plot` is '/nowhere/sweep.png', but there is no folder '/nowhere'",
        ),
        (["--json", "/nowhere/r.json"], "`--json` is '/nowhere/r.json', but there is no folder '/nowhere'"),
        (["--json", "/"], "`--json` is '/', which names a folder"),
        (["--epsilon", "1"], "unrecognized arguments: --epsilon 1"),
    ],
)
def test_bad_values_get_one_sentence_and_exit_2(command, monkeypatch, arguments, sentence):
    monkeypatch.setattr(run_and_check, "measure_all", None)  # nothing may be run
    code, out, err = command("reproduce", *arguments)
    assert code == 2
    assert out == ""
    assert sentence in err
    assert err.count("\n") == 1
    assert err.endswith(".\n")


def test_unknown_command(command):
    code, out, err = command("repro")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1


def test_help_and_version(command):
    code, out, _ = command("--version")
    assert (code, out.startswith("tf1bn ")) == (0, True)
    code, out, _ = command("reproduce", "--help")
    assert code == 0
    for option in (
        "--decay",
        "--steps",
        "--input",
        "--seed",
        "--shape",
        "--fused",
        "--release",
        "--device",
        "--variants",
        "--json",
    ):
        assert option in out


def test_a_gpu_that_is_not_there(command, monkeypatch):
    import tensorflow

    cpu = tensorflow.config.list_physical_devices("CPU")
    monkeypatch.setattr(tensorflow.config, "list_physical_devices", lambda kind=None: [] if kind == "GPU" else cpu)
    code, out, err = command("reproduce", "--device", "gpu")
    assert (code, out) == (2, "")
    assert re.search(r"device 'gpu' was asked for: looked for a GPU that TensorFlow .* found only CPU:0", err)


@pytest.mark.slow
def test_a_gpu_run_that_lands_on_the_cpu_is_not_success(command, monkeypatch, tmp_path):
    path = tmp_path / "r.json"
    monkeypatch.setattr(devices, "require", lambda device: None)
    monkeypatch.setattr(devices, "device_scope", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(devices, "open_session", lambda device, made=devices.open_session, **_: made("cpu"))
    code, out, _ = command("reproduce", *QUICK, "--device", "gpu", "--json", str(path))
    assert code == 2
    assert "the batch-norm operations ran on CPU:0" in " ".join(out.split())
    result = json.loads(path.read_text())
    assert result["ok"] is False
    assert (result["device"]["requested"], result["device"]["used"]) == ("gpu", "CPU:0")


def leaks_decay(x, decay, is_training, **arguments):
    y = tf1bn.batch_norm(x, decay, is_training=is_training, **arguments)
    return y * (1 + 2.0**-22 * decay) if is_training else y


def sabotage_runs(monkeypatch, layer, when):
    real = experiment.run_listing
    monkeypatch.setattr(
        experiment,
        "run_listing",
        lambda spec, device: real(spec, device, layer if when(spec) else tf1bn.batch_norm),
    )


def sabotage_sweep(monkeypatch, layer):
    real = experiment.run_sweep
    monkeypatch.setattr(experiment, "run_sweep", lambda *arguments, **more: real(*arguments, **more, layer=layer))


def misprint(monkeypatch, **changes):
    first, second = article.EXPERIMENTS
    monkeypatch.setattr(article, "EXPERIMENTS", (dataclasses.replace(first, **changes), second))


ONE_OFF = (article.EXPERIMENTS[0].training_output[0] + 1e-3, *article.EXPERIMENTS[0].training_output[1:])


@pytest.mark.parametrize(
    ("sabotage", "arguments"),
    [
        pytest.param(lambda m: sabotage_sweep(m, bessel), [], id="sweep"),
        pytest.param(
            lambda m: sabotage_sweep(m, leaks_decay), [], id="conclusion", marks=pytest.mark.slow
        ),  # conclusion 3 alone
        pytest.param(
            lambda m: sabotage_sweep(m, leaks_decay),
            ["--decay", "0.9"],
            id="conclusion-one-decay",
            marks=pytest.mark.slow,
        ),  # whatever decays are asked for
        pytest.param(lambda m: misprint(m, training_output=ONE_OFF), [], id="article"),
        pytest.param(
            lambda m: sabotage_runs(m, bessel, lambda spec: spec.input == "random"),
            ["--input", "random"],
            id="further",
            marks=pytest.mark.slow,
        ),
        pytest.param(lambda m: sabotage_runs(m, no_update, lambda spec: spec.fused), [], id="fused"),
        pytest.param(
            lambda m: sabotage_runs(m, no_update, lambda spec: spec.release == "1.3"),
            [],
            id="article-run",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_each_thing_that_ok_stands_for_is_enough_to_fail_it(command, monkeypatch, tmp_path, sabotage, arguments):
    path = tmp_path / "r.json"
    sabotage(monkeypatch)
    code, out, _ = command("reproduce", *QUICK, *arguments, "--json", str(path))
    assert code == 1
    assert json.loads(path.read_text())["ok"] is False
    assert "NOT reproduced" in out


def test_bounds_too_wide_to_decide_are_not_success(command, monkeypatch, tmp_path):
    path = tmp_path / "r.json"
    # What the article's 16 values allow, and no more.
    monkeypatch.setattr(listing_check, "DECIDES", 5e-6)
    code, out, _ = command("reproduce", *QUICK, "--input", "random", "--shape", "15000,1", "--json", str(path))
    assert code == 2
    assert "too wide to decide" in " ".join(out.split())
    result = json.loads(path.read_text())
    assert result["ok"] is False
    assert result["problems"] == []
    assert result["runs"][2]["checker"]["agrees"] is False


def test_what_was_not_foreseen_is_one_sentence_and_exit_2(command, monkeypatch):
    for error, sentence in (
        (ImportError("The compiled extension is missing."), "The compiled extension is missing."),
        (MemoryError(), "there is not enough memory for this input"),
        (OSError(28, "No space left on device"), "output could not be written: No space left on device."),
        (ZeroDivisionError("x"), "ZeroDivisionError: x. This was not foreseen; --verbose shows"),
    ):

        def fails(*_, error=error):
            raise error

        monkeypatch.setattr(run_and_check, "measure_all", fails)
        monkeypatch.setattr(command_module, "_discard_output", lambda: None)
        code, out, err = command("reproduce")
        assert (code, out) == (2, "")
        assert sentence in err
        assert err.count("\n") == 1


def test_the_two_files_must_differ(command, monkeypatch, tmp_path):
    monkeypatch.setattr(run_and_check, "measure_all", None)
    path = str(tmp_path / "x.png")
    code, _, err = command("reproduce", "--json", path, "--plot", path)
    assert code == 2
    assert "are both" in err


@pytest.fixture
def ctrl_c():
    """SIGINT as it is in the foreground, whatever the test run itself inherited."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, inherited)


def test_interrupted(command, monkeypatch, tmp_path, ctrl_c):
    path = tmp_path / "r.json"
    monkeypatch.setattr(run_and_check, "measure_all", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    code, out, err = command("reproduce", "--json", str(path))
    assert (code, out, err) == (130, "", "")
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interrupted_inside_tensorflow(command, monkeypatch, ctrl_c):
    """TensorFlow turns a KeyboardInterrupt in a callback into an error of its own."""

    def measure_all(*_):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise RuntimeError("cancelled") from None

    monkeypatch.setattr(run_and_check, "measure_all", measure_all)
    assert command("reproduce") == (130, "", "")


def test_a_background_process_goes_on_ignoring_ctrl_c(command, monkeypatch, ctrl_c):
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def measure_all(*_):
        os.kill(os.getpid(), signal.SIGINT)
        raise ZeroDivisionError

    monkeypatch.setattr(run_and_check, "measure_all", measure_all)
    assert command("reproduce")[0] == 2


def test_print_variables(command):
    code, out, _ = command("reproduce", *QUICK, "--print-variables")
    assert code == 0
    assert "before: <tf.Variable 'my/BatchNorm/moving_mean:0' shape=(1,) dtype=float32_ref> [0.]" in out
    assert "after: <tf.Variable 'my/BatchNorm/moving_mean:0' shape=(1,) dtype=float32_ref> [114.78817]" in out
    assert out.count("<tf.Variable 'my/BatchNorm/beta:0' shape=(1,) dtype=float32_ref>") == 8


def test_plain_text_when_piped(command):
    code, out, err = command("reproduce", *QUICK)
    assert code == 0
    assert err == ""
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out, "a number was cut"


@pytest.mark.parametrize("kind", ["png", pytest.param("svg", marks=pytest.mark.slow)])
def test_plot(command, tmp_path, kind):
    path = tmp_path / f"sweep.{kind}"
    assert command("reproduce", *QUICK, "--plot", str(path))[0] == 0
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG") if kind == "png" else b"<svg" in data
    assert [child.name for child in tmp_path.iterdir()] == [path.name]


def test_the_picture_shows_what_was_measured(result):
    """Every decay has its measured points and its closed form in both halves, told apart by marker and colour."""
    figure = plot.sweep_figure({**result, "sweep": result["sweep"] * 2})
    for axes, name in zip(figure.axes, ("carried", "test_error"), strict=True):
        marked = [line for line in axes.lines if line.get_marker() not in ("None", "") and len(line.get_xdata())]
        assert len(marked) == 2 * len(result["sweep"])
        assert len({(line.get_marker(), line.get_color()) for line in marked}) == len(marked)
        for line, row in zip(marked, result["sweep"], strict=False):
            assert list(line.get_ydata()) == row["curve"][name][1:]


def rendered(result, **options):
    text = io.StringIO()
    report.print_result(result, terminal.console(file=text, **options))
    return text.getvalue()


def test_the_report_says_no_where_the_result_says_so(result):
    good = rendered(result)
    assert not re.search(r"\bNO\b", good)
    assert "copied from the" in " ".join(good.split())  # the slip in the article's prose
    for change in (
        lambda r: r["conclusions"][2].update(holds=False),
        lambda r: r["runs"][0]["checker"].update(agrees=False),
        lambda r: r["runs"][1]["article"].update(agrees=False),
        lambda r: r["releases"][0].update(checker_agrees=False),
        lambda r: r["sweep"][3].update(agrees=False),
    ):
        doctored = copy.deepcopy(result)
        change(doctored)
        assert len(re.findall(r"\bNO\b", rendered(doctored))) == 1
    text = rendered({**result, "ok": False, "problems": ["the sky fell"], "undecided": ["who knows"]})
    assert "Problem: the sky fell" in text
    assert "Undecidable: who knows." in text
    assert "NOT reproduced" in text


def test_no_color_and_narrow_terminals(result, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert "\x1b[" in rendered(result, force_terminal=True)
    narrow = rendered(result, force_terminal=False)
    assert "…" not in narrow
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", rendered(result, force_terminal=True))


def test_the_process(tmp_path):
    """The real thing in a process of its own: no start-up noise, code 0, a whole JSON."""
    path = tmp_path / "r.json"
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-m", "tf1bn.reproduce", *QUICK, "--json", str(path)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Reproduced:" in done.stdout
    assert json.loads(path.read_text())["ok"] is True


NO_TENSORFLOW = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "tensorflow":
            raise ModuleNotFoundError("No module named 'tensorflow'")

sys.meta_path.insert(0, Missing())
from tf1bn.cli.main import main
sys.exit(main(["reproduce"]))
"""


@pytest.mark.slow
def test_verbose_shows_tensorflows_own_log():
    done = subprocess.run(
        [sys.executable, "-m", "tf1bn", "reproduce", *QUICK, "--verbose", "--device", "cpu"],
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"},
    )
    assert done.returncode == 0
    assert done.stderr


@pytest.mark.slow
def test_a_reader_that_has_gone_is_no_finding():
    process = subprocess.Popen(
        [sys.executable, "-m", "tf1bn.reproduce", *QUICK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 2
    assert err == ""


def test_without_tensorflow():
    done = subprocess.run([sys.executable, "-c", NO_TENSORFLOW], capture_output=True, text=True)
    assert done.returncode == 2
    assert "TensorFlow could not be imported (No module named 'tensorflow'); install it with" in done.stderr
    assert "Traceback" not in done.stderr


# Files


def test_json_numbers_that_json_cannot_hold_are_null():
    text = strict_json.to_json({"a": [1.0, float("nan"), (float("inf"),)], "b": {"c": -float("inf")}})
    assert json.loads(text) == {"a": [1.0, None, [None]], "b": {"c": None}}


def test_files_are_whole_or_not_there(tmp_path, monkeypatch):
    target = tmp_path / "r.json"
    target.write_text("old")

    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(errors.OutputError, match=r"`--json` is .* could not be written: No space left on device"):
        files.write_file(str(target), b"new", "--json")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_stays_a_link_and_modes_stay(tmp_path):
    target, link = tmp_path / "real.json", tmp_path / "link.json"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    files.write_file(str(link), b"new", "--json")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640


def test_devices_and_pipes_are_written_to_not_replaced():
    before = os.stat("/dev/null")
    files.check_writable("/dev/null", "--json")
    files.write_file("/dev/null", b"new", "--json")
    assert os.stat("/dev/null").st_ino == before.st_ino
    with pytest.raises(errors.OutputError, match="No space left on device"):
        files.write_file("/dev/full", b"new", "--json")
