"""What `tf1bn audit` and `tf1bn parity` print for results made by hand, at 60, 80 and 120 columns.

The expected texts lie in tests/reports/terminal/; `python tests/reports/test_terminal_output.py --write` writes them
anew after a change of the wording, and whoever changes it reads them.
"""

import io
import sys
from pathlib import Path

import pytest

from tf1bn.reports import terminal
from tf1bn.reports.audit import print_audit
from tf1bn.reports.layers.name_lists import brace_names, fold_name, name_lines
from tf1bn.reports.parity import print_comparison
from tf1bn.verdicts import ADVISORY, cause_entry

FOLDER = Path(__file__).parent / "terminal"
WIDTHS = (60, 80, 120)
FLIPPED = (
    "The decay and 1 - decay are exchanged: each step moves the statistics by 0.9 of the way to the batch instead of "
    "1 - decay = 0.1; PyTorch's momentum is 1 - decay. After step 2 the moving mean is 0.191 too low in channel 0 "
    "(3.4e-07 allowed): -0.172 added by that step, -0.0191 inherited."
)
UNKNOWN = (
    "The trace does not say whether the variance carries Bessel's correction, and the data cannot tell: about {} steps "
    "like these would."
)


def resnet50():
    """The names of the 53 batch norms of ResNet-50 as TF-Slim gives them."""
    yield "resnet_v2_50/conv1/BatchNorm"
    for block, units in ((1, 3), (2, 4), (3, 6), (4, 3)):
        for unit in range(1, units + 1):
            for name in (*["preact"] * (unit == 1), "conv1", "conv2", "conv3"):
                yield f"resnet_v2_50/block{block}/unit_{unit}/bottleneck_v2/{name}/BatchNorm"


NAMES = list(resnet50())


def layer(name, verdict="ok", cause=None, severity="finding", explanation="The statistics are right.", **more):
    causes = [] if cause is None else [cause_entry(cause, explanation, severity)]
    numbers = {"mean_error": 1e-8, "mean_bound": 4e-8, "variance_error": None, "variance_bound": None}
    rest = {"first": False, "first_step": 0 if verdict == "finding" else None}
    return {"name": name, "verdict": verdict, "causes": causes, "explanation": explanation, **numbers, **rest, **more}


def audit_of(layers):
    return {"format": "tf1bn-audit", "ok": False, "layers": layers, "notes": []}


SETTINGS = {"decay": 0.997, "epsilon": 1e-5, "data_format": "NHWC", "dtype": "float32", "fused": True}


def mixed():
    layers = [layer(name) for name in NAMES]
    layers[5] = layer(NAMES[5], "finding", "bessel", explanation="The moving variance has Bessel's correction.")
    for i in (9, 10, 11):
        layers[i] = layer(NAMES[i], "finding", "momentum-flipped", explanation=FLIPPED)
    layers[9]["first"] = True
    for i, steps in ((20, "6,848,649"), (21, "6,828,780"), (35, "6,829,002")):
        layers[i] = layer(NAMES[i], "undecidable", explanation=UNKNOWN.format(steps))
    for i in (30, 31):
        layers[i] = layer(NAMES[i], "ok", "cold-start", ADVISORY, "The start values still make up 37 %.")
    for entry in layers:
        entry |= {"steps": 120, "training_steps": 100, "settings": SETTINGS}
    layers[5]["settings"] = SETTINGS | {"epsilon": 1e-3, "fused": False}
    return audit_of(layers) | {"about": {"framework": "TensorFlow", "framework_version": "1.15.5"}}


def one_cause():
    layers = [layer(name, "finding", "momentum-flipped", explanation=FLIPPED) for name in NAMES]
    layers[0]["first"] = True
    return audit_of(layers)


def comparison():
    layers = []
    for i, name in enumerate(NAMES):
        checks = [{"what": "moving mean", "error": 1e-8, "bound": 4e-8}]
        entry = layer(
            name, "finding" if i % 9 == 4 else "ok", "epsilon" if i % 9 == 4 else None, explanation="Epsilon."
        )
        layers.append({**entry, "old": name, "new": f"block{i}.bn", "matched": "map", "checks": checks})
    about = {"old": {"framework": "TensorFlow", "framework_version": "1.15"}, "new": {"framework": "PyTorch"}}
    names = {"old": "old.trace", "new": "new.trace"}
    return {"format": "tf1bn-parity", **names, "about": about, "steps": [8, 1], "layers": layers, "notes": ["A note."]}


CASES = {
    "one-cause": lambda out: print_audit(one_cause(), "run.trace", out),
    "mixed": lambda out: print_audit(mixed(), "run.trace", out),
    "mixed-quiet": lambda out: print_audit(mixed(), "run.trace", out, quiet=True),
    "parity": lambda out: print_comparison(comparison(), out),
}


def printed(case, width):
    file = io.StringIO()
    CASES[case](terminal.console(file=file, width=width))
    return file.getvalue()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("case", CASES)
def test_the_output_is_as_it_was_read(case, width):
    assert printed(case, width) == (FOLDER / f"{case}-{width}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("case", CASES)
def test_no_line_is_too_long_or_ends_in_blanks(case, width):
    for line in printed(case, width).splitlines():
        assert line == line.rstrip()
        assert len(line) <= width or line.startswith(("run.trace: ", "old.trace -> "))


@pytest.mark.parametrize("width", WIDTHS)
def test_one_cause_in_all_layers_is_at_most_40_lines(width):
    out = printed("one-cause", width)
    assert out.count("\n") <= 40
    assert out.count("The decay and") == 1
    for name in ("conv1/BatchNorm", "block4", "unit_6"):
        assert name in out.replace("\n  ", "")


def test_a_pipe_of_80_columns_gets_a_table(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    print_audit(mixed(), "run.trace", terminal.console())
    assert "\nlayer " in capsys.readouterr().out


def test_what_is_asked_for_is_shown_in_full():
    file = io.StringIO()
    print_audit(mixed(), "run.trace", terminal.console(file=file, width=120), in_full=True)
    out = file.getvalue()
    assert out.count("The statistics are right.") == 44
    assert out.count("The decay and") == 3
    assert "\nok: " not in out


def test_a_short_list_of_what_is_ok_has_names():
    file = io.StringIO()
    print_audit(audit_of([layer("a"), layer("b/c")]), "run.trace", terminal.console(file=file, width=80))
    assert file.getvalue().splitlines() == [
        "ok: a, b/c (largest error 25 % of its bound)",
        "run.trace: 2 layers: 0 finding, 0 undecidable, 2 ok.",
    ]


@pytest.mark.parametrize(
    ("names", "texts"),
    [
        (["bn1", "bn2"], ["bn1", "bn2"]),
        (["a/x/bn", "a/y/bn", "b"], ["a/{x,y}/bn", "b"]),
        (["layer1.0.bn1", "layer1.0.bn2", "layer1.1.bn1", "layer1.1.bn2"], ["layer1.{0,1}.{bn1,bn2}"]),
        (["a/x/bn", "b/x/bn"], ["{a,b}/x/bn"]),
        (["a/{x}/bn", "a/y,z/bn"], ["a/{x}/bn", "a/y,z/bn"]),
        (["a", "a/b", "a/b/c"], ["a", "a/b", "a/b/c"]),
    ],
)
def test_names_share_what_is_alike(names, texts):
    found = brace_names(names)
    assert [text for text, _ in found] == texts
    assert sum(count for _, count in found) == len(names)


def test_names_that_find_no_room_are_counted():
    lines, left = name_lines([f"name{i}" for i in range(100)], 20, 3)
    assert lines[0] == "name0, name1, name2,"
    assert len(lines) == 3
    assert left == 100 - sum(line.count("name") for line in lines)


def test_names_are_listed_where_one_text_for_all_of_them_finds_no_room():
    lines, left = name_lines([f"block_{i}/bn" for i in range(800)], 40, 3)
    assert lines[0] == "block_0/bn, block_1/bn, block_2/bn,"
    assert left == 800 - sum(line.count("/bn") for line in lines)


def test_names_in_sentences_are_broken_between_their_parts():
    text = "The variance `" + "block_name/" * 12 + "variance` is NaN."
    row = layer("bn", "finding", "not-finite", explanation=text)
    row["causes"] *= 2
    for width in WIDTHS:
        file = io.StringIO()
        print_audit(audit_of([row]), "m.npz", terminal.console(file=file, width=width))
        assert "block_name/\n" in file.getvalue().replace(" ", "")
        assert "block_name" not in file.getvalue().replace("block_name/", "")
        # Once beside the verdict, and once before what to do.
        assert file.getvalue().count("not-finite") == 2


def test_a_name_is_folded_where_it_has_parts():
    assert fold_name("block1/unit_2/conv1", 10) == ["block1/", "unit_2/", "conv1"]
    assert fold_name("x" * 25, 10) == ["x" * 10, "x" * 10, "x" * 5]
    assert fold_name("block1/bn1 -> block1.bn1 (map)", 22) == ["block1/bn1 ->", "block1.bn1 (map)"]
    assert fold_name("conv1/bn and 52 more", 12) == ["conv1/bn and", "52 more"]


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    for case in CASES:
        for width in WIDTHS:
            (FOLDER / f"{case}-{width}.txt").write_text(printed(case, width), encoding="utf-8")
