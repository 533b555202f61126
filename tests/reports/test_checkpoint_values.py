"""The values of a checkpoint in its reports: ranges by role in JSON, page and terminal; nothing about errors."""

import json

import numpy as np
import pytest
from pages import Page

from tf1bn.cli import main as cli
from tf1bn.reports.checkpoint_values import range_in_words

# The values and what is said of them, by hand.
VARIABLES = {
    "a/bn/moving_mean": np.array([-1.5, 0.25, 2], "f4"),
    "a/bn/moving_variance": np.array([0.5, 4, 1], "f4"),
    "a/bn/gamma": np.array([1, 1, 1], "f4"),
    "b/bn/moving_mean": np.array([3, np.nan], "f4"),
    "b/bn/moving_variance": np.array([7, 8], "f4"),
    "b/bn/beta": np.array([-0.125, 0.5], "f4"),
}
ROWS = {
    "a/bn": ("3", "-1.5 to 2", "0.5 to 4", "1", "-"),
    "b/bn": ("2", "3, 1 not finite", "7 to 8", "-", "-0.125 to 0.5"),
}
NEVER = ("not measured", "allowed 0", "largest error", "largest remaining error", "not given", ">steps<")


@pytest.fixture
def audited(tmp_path, capsys, monkeypatch):
    """Audit the checkpoint; returns the lines on the terminal, the JSON and the page."""
    monkeypatch.setenv("COLUMNS", "120")
    path = tmp_path / "w.npz"
    np.savez(path, **VARIABLES)

    def run(*options):
        files = [f"--{kind}={tmp_path / kind}" for kind in ("json", "html")]
        assert cli.main(["audit", str(path), *files, *options]) == 1
        lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
        return lines, json.loads((tmp_path / "json").read_text()), (tmp_path / "html").read_text(encoding="utf-8")

    return run


def rows_of(page):
    """The texts behind the causes in each row of the table, by the layer's name."""
    rows = {}
    for row in Page(page).cells:
        _, name, *rest = row.split(" ", 2)
        rows[name] = rest[0]
    return rows


def test_the_values_are_in_json_and_page(audited):
    _, result, page = audited()
    assert result["kind"] == "checkpoint"
    by_name = {layer["name"]: layer for layer in result["layers"]}
    assert {name: layer["channels"] for name, layer in by_name.items()} == {"a/bn": 3, "b/bn": 2}
    assert by_name["a/bn"]["values"] == {
        "mean": {"variable": "a/bn/moving_mean", "min": -1.5, "max": 2.0, "not_finite": 0},
        "variance": {"variable": "a/bn/moving_variance", "min": 0.5, "max": 4.0, "not_finite": 0},
        "gamma": {"variable": "a/bn/gamma", "min": 1.0, "max": 1.0, "not_finite": 0},
    }
    assert by_name["b/bn"]["values"]["mean"]["not_finite"] == 1
    for name, row in ROWS.items():
        assert rows_of(page)[name].endswith(" ".join(row))
    text = Page(page).text
    assert "moving mean b/bn/moving_mean 3 3 1" in text
    assert "beta b/bn/beta -0.125 0.5 0" in text
    assert not [words for words in NEVER if words in page]


def test_the_terminal_shows_them_where_they_are_wanted(audited):
    lines, _, _ = audited("--values")
    for name, row in ROWS.items():
        assert " ".join((name, *row)) in lines
    lines, _, _ = audited("--values", "--quiet")
    assert not any(line.startswith("a/bn 3") for line in lines)
    lines, _, _ = audited()
    assert not any("0.5 to 4" in line for line in lines)


def test_a_trace_has_no_such_values(capsys):
    assert cli.main(["audit", "docs/samples/original.trace", "--values"]) == 2
    assert capsys.readouterr().err.startswith("tf1bn audit: `--values` is for checkpoints, and PATH is the trace ")


def test_a_comparison_says_how_far_each_variable_differs(tmp_path, capsys):
    new = {**VARIABLES, "a/bn/moving_variance": np.array([0.5, 4.5, 2], "f4")}
    new["b/bn/beta"] = VARIABLES["b/bn/beta"][:1]
    for name, variables in (("old", VARIABLES), ("new", new)):
        np.savez(tmp_path / f"{name}.npz", **variables)
    page = tmp_path / "p.html"
    assert cli.main(["parity", *(str(tmp_path / f"{name}.npz") for name in ("old", "new")), "--html", str(page)]) == 1
    text = page.read_text(encoding="utf-8")
    assert rows_of(text)["a/bn"].endswith(" 3 moving variance: 2 of 3 channels, by 1 at most")
    assert rows_of(text)["b/bn"].endswith(" 2 beta: another size moving mean: 1 of 2 channels")
    # Exact numbers are in the details.
    assert "moving variance a/bn/moving_variance a/bn/moving_variance 3 2 1 2 1 2" in Page(text).text
    assert "NEW does not hold what OLD holds in 2 of 2 layers." in text
    assert not [words for words in NEVER if words in text]


@pytest.mark.parametrize("values", [None, "text", {}, {"min": None, "max": None}])
def test_what_is_missing_has_words(values):
    assert range_in_words(values) in ("-", "no values")
