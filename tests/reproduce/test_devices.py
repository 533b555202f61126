"""``tf1bn reproduce`` with ``--device gpu`` and ``both``, where the GPU is the CPU by another name."""

import json
import os

import pytest
import tensorflow
import tiers
from sabotage import bessel, no_update

import tf1bn
from tf1bn.cli import main as cli
from tf1bn.reproduce import devices, experiment, run_and_check
from tf1bn.reproduce.variants import grid

DETAILS = {
    "devices": [{"device": "GPU:0", "name": "NVIDIA Test 100", "compute_capability": "9.0"}],
    "cuda_version": "12.5.1",
    "cudnn_version": "9",
    "packages": {"nvidia-cudnn-cu12": "9.3.0.75"},
    "driver": "535.104.05",
}


@pytest.fixture
def pretend(monkeypatch):
    """Sessions on "gpu" run on the CPU and say GPU:0."""
    opened = set()

    def open_session(device, made=devices.open_session, **options):
        opened_here = made("cpu", **options)
        if device == "gpu":
            opened.add(opened_here)
        return opened_here

    def run_with_placements(sess, *arguments, ran=devices.run_with_placements, **keywords):
        values, placements = ran(sess, *arguments, **keywords)
        if sess in opened:
            placements = [each._replace(device="GPU:0") for each in placements]
        return values, placements

    monkeypatch.setattr(devices, "require", lambda device: None)
    monkeypatch.setattr(devices, "device_scope", lambda device, made=devices.device_scope: made("cpu"))
    monkeypatch.setattr(devices, "open_session", open_session)
    monkeypatch.setattr(devices, "run_with_placements", run_with_placements)
    monkeypatch.setattr(devices, "details", lambda: DETAILS)
    monkeypatch.setattr(grid, "SHAPES", grid.SHAPES[:1])


@pytest.fixture
def few(monkeypatch):
    """Three of the eight variants, where the rest would show the same."""
    kinds = [kind for kind in grid.all_variants() if kind.shape == grid.SHAPES[0]]
    monkeypatch.setattr(grid, "all_variants", lambda: [kinds[0], kinds[3], kinds[6]])


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run ``tf1bn reproduce``; returns exit code, the report with its lines joined, its lines, and the JSON."""
    monkeypatch.setenv("COLUMNS", "80")

    def command(*arguments):
        path = tmp_path / "r.json"
        code = cli.main(["reproduce", "--steps", "20", "--json", str(path), *arguments])
        out, err = capsys.readouterr()
        assert err == ""
        result = json.loads(path.read_text(encoding="utf-8"))
        assert result["ok"] is (code == 0)
        return code, " ".join(out.split()), out.splitlines(), result

    return command


@pytest.mark.gpu
def test_a_real_gpu(run):
    code, text, _, result = run("--device", "both")
    assert (result["problems"], result["undecided"]) == ([], [])
    assert code == 0
    assert result["device"]["used"] == "GPU:0, CPU:0"
    assert f"GPU:0: {result['device']['details']['devices'][0]['name']}" in text


def kinds(rows):
    return [(row["layer"], row["data_format"], row["dtype"]) for row in rows]


GRID = [
    (layer, data_format, dtype)
    for layer in ("fused", "composed")
    for data_format in ("NHWC", "NCHW")
    for dtype in ("float32", "float16")
]


def test_the_variants_on_the_cpu(run, monkeypatch):
    """Nothing is pretended here."""
    monkeypatch.setattr(grid, "SHAPES", grid.SHAPES[:2])
    code, text, _, result = run("--device", "cpu", "--variants")
    assert code == 0
    assert kinds(result["variants"]) == [kind for kind in GRID for _ in grid.SHAPES]
    assert {row["verdict"] for row in result["variants"]} == {"ok"}
    assert {row["device"] for row in result["variants"]} == {"cpu"}
    assert result["side_by_side"] == []
    assert {each["device"] for row in result["variants"] for each in row["operations"]} == {"CPU:0"}
    assert "On the CPU, the worst of the shapes 2x3x3x5, 8x16x16x5" in text
    assert "TensorFlow is built for CUDA" in text or "TensorFlow is built without CUDA" in text


def test_a_gpu_session(run, pretend):
    code, text, lines, result = run("--device", "gpu")
    assert code == 0
    assert (result["device"]["requested"], result["device"]["used"]) == ("gpu", "GPU:0")
    assert result["device"]["details"] == DETAILS
    assert kinds(result["variants"]) == GRID
    for row in result["variants"]:
        assert (row["device"], row["verdict"]) == ("gpu", "ok")
        assert {each["device"] for each in row["operations"]} == {"GPU:0"}
        assert any("FusedBatchNorm" in each["operation"] for each in row["operations"]) is (row["layer"] == "fused")
    for listing in result["runs"]:
        assert {each["device"] for each in listing["operations"]} == {"GPU:0"}
        # The second application of the layer, which tests, is in another name scope.
        assert {each["name"].partition("/")[0] for each in listing["operations"]} == {"my", "my_1"}
    for text_part in (
        "GPU:0: NVIDIA Test 100, compute capability 9.0.",
        "built for CUDA 12.5.1 and cuDNN 9; installed: nvidia-cudnn-cu12 9.3.0.75; NVIDIA driver: 535.104.05.",
        "batch norm ran on: GPU:0",
        "AssignSubVariableOp 8 GPU:0 8 GPU:0",
        "On the GPU, the worst of the shapes 2x3x3x5",
    ):
        assert text_part in text
    assert "sees no GPU" not in text
    assert [line for line in lines if len(line) > 80] == []
    assert "…" not in text


@pytest.mark.slow
def test_both_side_by_side(run, pretend):
    code, text, lines, result = run("--device", "both")
    assert code == 0
    assert result["device"]["used"] == "GPU:0, CPU:0"
    assert [row["device"] for row in result["variants"]] == ["cpu"] * 8 + ["gpu"] * 8
    # The article's two runs and those of the fused layer are compared as well.
    listings = [row for row in result["side_by_side"] if row["input"] == "article"]
    assert [(row["layer"], row["decay"]) for row in listings] == [
        ("composed", 0), ("composed", 1), ("fused", 0), ("fused", 1),
    ]  # fmt: skip
    assert kinds(row for row in result["side_by_side"] if row["input"] == "random") == GRID
    for row in result["side_by_side"]:
        assert (row["verdict"], row["same_bits"]) == ("ok", True)
        for quantity in ("training_output", "test_output", "moving_mean", "moving_variance"):
            assert row[quantity]["error"] == 0
            assert row[quantity]["allowed"] > 0 or row["decay"] == 1
    assert "7 CPU and GPU side by side: difference/twice the bound" in text
    assert "composed, decay 0 0/" in text
    assert "for the CPU for the CPU for the GPU for the GPU" in text
    assert [line for line in lines if len(line) > 80] == []


def on_the_gpu_alone(monkeypatch, module, name, layer):
    """Have ``module.name(what, device)`` run another layer where the device is the GPU."""
    real = getattr(module, name)

    def run_on(what, device):
        return real(what, device, layer if device == "gpu" else tf1bn.batch_norm)

    monkeypatch.setattr(module, name, run_on)


@pytest.mark.slow
def test_a_wrong_variant_on_the_gpu_alone_is_a_finding(run, pretend, few, monkeypatch):
    on_the_gpu_alone(monkeypatch, grid, "run_variant", no_update)
    code, text, _, result = run("--device", "both")
    assert code == 1
    verdicts = {(row["device"], row["verdict"]) for row in result["variants"]}
    assert verdicts == {("cpu", "ok"), ("gpu", "finding")}
    assert all("the GPU" in problem for problem in result["problems"])
    beside = {row["verdict"] for row in result["side_by_side"] if row["input"] == "random"}
    assert beside == {"finding"}
    assert result["undecided"] == []
    assert "Problem: and" in text  # the terminal shows a dozen
    assert "NO" in text.split()


@pytest.mark.slow
def test_a_wrong_listing_on_the_gpu_alone_is_a_finding(run, pretend, few, monkeypatch):
    on_the_gpu_alone(monkeypatch, experiment, "run_listing", bessel)
    code, _, _, result = run("--device", "both")
    assert code == 1
    assert {row["verdict"] for row in result["variants"]} == {"ok"}
    wrong = [(row["layer"], row["decay"]) for row in result["side_by_side"] if row["verdict"] == "finding"]
    assert wrong == [("composed", 0)]
    assert any(
        problem.startswith("listing of TF 1.3, composed, decay 0, article input, the GPU and the CPU: ")
        for problem in result["problems"]
    )


@pytest.mark.slow
def test_a_wrong_listing_on_the_cpu_alone_is_a_finding(run, pretend, few, monkeypatch):
    real = experiment.run_listing
    monkeypatch.setattr(
        experiment,
        "run_listing",
        lambda spec, device: real(spec, device, bessel if device == "cpu" else tf1bn.batch_norm),
    )
    code, _, _, result = run("--device", "both")
    assert code == 1
    assert any(
        problem.startswith("listing of TF 1.3, composed, decay 0, article input on the CPU: moving_variance")
        for problem in result["problems"]
    )


@pytest.mark.parametrize("scope", tiers.slow_but(["variant"], ["variant", "my"]))
def test_one_operation_of_a_gpu_run_on_the_cpu_is_undecided(run, pretend, few, monkeypatch, scope):
    real = devices.run_with_placements

    def run_with_placements(sess, *arguments, **keywords):
        values, placements = real(sess, *arguments, **keywords)
        return values, [
            each._replace(device="CPU:0") if each.name.startswith(scope) and each.operation == "Rsqrt" else each
            for each in placements
        ]

    monkeypatch.setattr(devices, "run_with_placements", run_with_placements)
    code, text, _, result = run("--device", "gpu")
    assert code == 2
    assert result["problems"] == []
    assert result["device"]["used"] == "GPU:0, CPU:0"
    if scope == "variant":
        verdicts = {(row["layer"], row["verdict"]) for row in result["variants"]}
        assert verdicts == {("fused", "ok"), ("composed", "undecided")}
        assert "(Rsqrt) on CPU:0" in text
        assert "Rsqrt 2 CPU:0" in text
    else:
        (sentence,) = result["undecided"]
        assert "but some of the batch-norm operations ran on CPU:0" in sentence


def breaks(x, decay, is_training, **arguments):
    raise tensorflow.errors.InternalError(None, None, "cuDNN launch failure : input shape [2,3,3,5]\n\t [[node]]")


@pytest.mark.slow
def test_what_a_gpu_could_not_run_is_listed_and_undecided(run, pretend, few, monkeypatch):
    on_the_gpu_alone(monkeypatch, grid, "run_variant", breaks)
    code, text, _, result = run("--device", "both")
    assert code == 2
    assert {row["verdict"] for row in result["variants"] if row["device"] == "gpu"} == {"undecided"}
    assert {row["reason"] for row in result["variants"] if row["device"] == "gpu"} == {
        "cuDNN launch failure : input shape [2,3,3,5]"
    }
    assert (
        "Undecidable: fused NHWC float32 2x3x3x5 on the GPU was not run: TensorFlow says: cuDNN launch failure : input "
        "shape [2,3,3,5]." in text
    )
    assert {row["verdict"] for row in result["side_by_side"] if row["input"] == "random"} == {"not run"}
    assert "composed NCHW float32 not run" in text


def has_no_kernel(x, decay, is_training, **arguments):
    raise tensorflow.errors.UnimplementedError(None, None, "Only NHWC is supported on CPU, [a] and [/]")


@pytest.mark.slow
def test_what_the_cpu_cannot_run_is_a_note(run, pretend, few, monkeypatch):
    real = grid.run_variant

    def run_on(variant, device):
        wrong = device == "cpu" and variant.data_format == "NCHW"
        return real(variant, device, has_no_kernel if wrong else tf1bn.batch_norm)

    monkeypatch.setattr(grid, "run_variant", run_on)
    code, text, _, result = run("--device", "both")
    assert code == 0
    assert [row["verdict"] for row in result["variants"] if row["device"] == "cpu"] == ["ok", "not run", "not run"]
    assert (
        "fused NCHW float16 2x3x3x5 on the CPU was not run: TensorFlow says: Only NHWC is supported on CPU, [a]" in text
    )
    assert "[a] and [/]." in text
    assert text.count("Note: ") == 3  # the article's slip, and two variants


def test_both_without_a_gpu(capsys, monkeypatch):
    cpu = tensorflow.config.list_physical_devices("CPU")
    monkeypatch.setattr(tensorflow.config, "list_physical_devices", lambda kind=None: [] if kind == "GPU" else cpu)
    monkeypatch.setattr(run_and_check, "measure_all", None)  # nothing may be run
    assert cli.main(["reproduce", "--device", "both"]) == 2
    assert "device 'both' was asked for: looked for a GPU" in capsys.readouterr().err


# What is known of a GPU


def test_the_details_of_a_gpu(monkeypatch):
    gpu = tensorflow.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    config = tensorflow.config
    monkeypatch.setattr(config, "list_physical_devices", lambda kind=None: [gpu])
    monkeypatch.setattr(
        config.experimental,
        "get_device_details",
        lambda device: {"device_name": "NVIDIA A100", "compute_capability": (8, 0)},
    )
    monkeypatch.setattr(
        tensorflow.sysconfig, "get_build_info", lambda: {"cuda_version": "12.5.1", "cudnn_version": "9"}
    )
    details = devices.details()
    assert details["devices"] == [{"device": "GPU:0", "name": "NVIDIA A100", "compute_capability": "8.0"}]
    assert (details["cuda_version"], details["cudnn_version"]) == ("12.5.1", "9")
    # What TensorFlow does not say is null, not an error.
    monkeypatch.setattr(config.experimental, "get_device_details", lambda device: {})
    monkeypatch.setattr(tensorflow.sysconfig, "get_build_info", dict)
    details = devices.details()
    assert details["devices"] == [{"device": "GPU:0", "name": None, "compute_capability": None}]
    assert (details["cuda_version"], details["cudnn_version"]) == (None, None)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 2023\nGCC version: 12", "535.104.05"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.90  Release Build  Fri May 17", "550.90"),
        ("nothing of the kind", None),
    ],
)  # fmt: skip
def test_the_driver_by_its_kernel_module(tmp_path, monkeypatch, text, version):
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "version"
    path.write_text(text)
    assert devices._driver(str(path)) == version


@pytest.mark.parametrize(
    ("script", "version"), [("echo 535.104.05; echo 535.104.05", "535.104.05"), ("exit 9", None), ("true", None)]
)
def test_the_driver_by_nvidia_smi(tmp_path, monkeypatch, script, version):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert devices._driver(str(tmp_path / "nowhere")) == version
