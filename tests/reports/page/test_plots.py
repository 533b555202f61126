"""The plots: their numbers, checked; both bounds; a colour and a shape for each verdict; and words for all of it."""

import math
import re

import numpy as np
import pages
import pytest
from pages import Page, audit, curve, layer

from tf1bn.reports import html
from tf1bn.reports.page.plots import axes, curve_data, curve_svg


def svg_of(**changes):
    return curve_svg.draw(curve_data.Curve({**curve(), **changes}))


def test_both_bounds_are_drawn_and_named():
    svg = svg_of()
    for name in ("expected", "observed", "expected-error", "worst-case", "within", "between"):
        assert f'class="{name}"' in svg
    assert ">expected error<" in svg
    assert ">worst case<" in svg
    # One bound alone has one line and the plain name.
    given = curve()
    bound = given.pop("expected_error")
    del given["worst_case"]
    svg = curve_svg.draw(curve_data.Curve({**given, "bound": bound}))
    assert ">allowed<" in svg
    assert "worst-case" not in svg
    # None has none.
    del given["channel"]
    svg = curve_svg.draw(curve_data.Curve(given))
    assert "expected-error" not in svg
    assert ">allowed<" not in svg


def test_each_step_has_the_shape_of_its_verdict():
    made = curve_data.Curve(curve(20, error=0.5, expected_error=0.1, worst_case=0.2))
    # The error of step i is 0.5 i / 19.
    assert made.verdicts.tolist() == [0] * 4 + [1] * 4 + [2] * 12
    svg = curve_svg.draw(made)
    for name, shape, count in (("ok", "h0", 4), ("undecidable", "z", 4), ("finding", "m0-6", 12)):
        legend, values, errors = re.findall(f'class="mark {name}" d="([^"]*)"', svg)
        assert legend.count("M") == 1
        assert values.count("M") == errors.count("M") == count
        assert values.count(shape) == errors.count(shape) == count


def test_the_marked_step_is_the_one_that_is_named():
    assert curve_data.Curve({**curve(), "at": 4}).at == 4
    assert curve_data.Curve({**curve(), "at": 400}).at == 19
    assert curve_data.Curve(curve()).at == 19
    assert "In step 4 " in curve_data.Curve({**curve(), "at": 4}).summary()
    given = {"channel": 3, "step": 4, "error": 0.5, "expected_error": 0.05, "worst_case": 0.1}
    numbers = {"mean_error": 0.5, "mean_bound": 0.1, "worst": {"mean": {**given, "observed": 1, "expected": 0}}}
    page = Page(html.render(audit(layer("x", "finding", curves={"moving_mean": curve()}, **numbers))))
    assert "(channel 3, step 4)" in page.cells[0]
    assert "moving mean, channel 3. 20 steps. In step 4 " in page.text


def test_the_summary_of_a_plot():
    assert curve_data.Curve(curve()).summary() == (
        "20 steps. In step 19 2.23 is observed and 1.73 expected: an error of 5 times the worst case."
    )
    # As many digits as tell the two apart.
    given = {"observed": [1.0000001], "expected": [1.0], "expected_error": [1e-6], "worst_case": [1e-5]}
    assert curve_data.Curve(given).summary() == (
        "1 step. In step 0 1.0000001 is observed and 1 expected: an error of 10 % of the expected error."
    )
    given = curve(3, error=0.5, expected_error=0, worst_case=0)
    assert "an error of 0.25, where none is allowed" in curve_data.Curve(given).summary()
    given = curve(3, error=0, expected_error=0, worst_case=0)
    assert "0 % of the allowed" in curve_data.Curve(given).summary()
    given["observed"][1] = math.nan
    assert "1 step without a finite observed value" in curve_data.Curve(given).summary()
    page = Page(html.render(audit(layer("x", "finding", curves={"moving_mean": curve()}))))
    (image,) = page.find("div", role="img")
    assert image["aria-label"].startswith("moving mean, channel 3, observed against expected: 20 steps. In step 19 ")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"observed": []}, "No steps were kept."),
        ({"expected": None}, "it has no series &#39;expected&#39;."),
        ({"expected": [1.0]}, "its series have different lengths."),
        ({"step": [None] * 20}, "a step has no number."),
        (
            {"observed": [math.nan] * 20, "expected": [math.inf] * 20},
            "no value of the 20 steps is a finite number.",
        ),
    ],
)
def test_a_curve_that_cannot_be_drawn_says_why(change, reason):
    text = html.render(audit(layer("x", "finding", curves={"moving_mean": curve() | change})))
    assert reason in text
    assert "<svg" not in text
    Page(text)


def test_long_runs_are_thinned_out_and_keep_what_matters():
    given = curve(100_000, error=0, expected_error=0.1)
    given["observed"][77_777] = 50.0
    given["observed"][33_333] = math.nan
    made = curve_data.Curve({**given, "at": 12_345})
    assert {0, 12_345, 33_333, 77_777, 99_999} <= set(made.points().tolist())
    assert len(made.points()) <= curve_data.POINTS
    assert len(curve_svg.draw(made)) < 40_000


def test_arrays_are_curves_too():
    made = {key: np.array(value) for key, value in curve().items() if key != "channel"}
    assert html.render(audit(layer("x", "finding", curves={"moving_mean": made | {"channel": 3}}))) == html.render(
        audit(layer("x", "finding", curves={"moving_mean": curve()}))
    )


def test_values_that_cannot_be_drawn_are_marked_at_the_edge():
    observed = [*curve()["observed"][:-1], math.inf]
    text = svg_of(observed=observed)
    assert "nan" not in text
    assert "inf" not in pages.drawn(text)
    assert curve_data.Curve({**curve(), "observed": observed}).verdicts[-1] == curve_data.FINDING


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0, 1, ["0.0", "0.5", "1.0"]),
        (-3, 17, ["0", "5", "10", "15"]),
        (1, 1 + 4e-7, ["1.0000000", "1.0000001", "1.0000002", "1.0000003", "1.0000004"]),
        (2e6, 6e6, ["2e6", "3e6", "4e6", "5e6", "6e6"]),
        (5, 5, ["5"]),
        (0, 0, ["0"]),
    ],
)
def test_ticks_are_round_numbers(low, high, texts):
    axis = axes.linear(np.array([low, high], np.float64), 100, 0)
    assert [text for _, text in axis.ticks] == texts
    for place, text in axis.ticks:
        assert place == pytest.approx(float(axis.place(float(text))))
        assert 0 <= place <= 100


@pytest.mark.parametrize("high", [1e-99, 1e-9, 1.0, 1e99])
@pytest.mark.parametrize("low", [1e-99, 1e-9, 1.0, 1e99])
def test_every_axis_has_a_few_ticks(low, high):
    for axis in (
        axes.linear(np.array([low, high]), 100, 0),
        axes.logarithmic(np.array([low, high]), 100, 0),
        axes.steps(np.round(np.array([low, high])), 0, 100),
    ):
        assert 1 <= len(axis.ticks) <= 8
        assert all(0 <= place <= 100 for place, _ in axis.ticks)


def test_a_logarithmic_axis_has_round_numbers():
    ticks = axes.logarithmic(np.array([0.03, 0.5]), 100, 0).ticks
    assert [text for _, text in ticks] == ["0.02", "0.05", "0.1", "0.2", "0.5"]
    assert [text for _, text in axes.logarithmic(np.array([1e-8, 1e-1]), 100, 0).ticks] == [
        "1e-8",
        "1e-6",
        "1e-4",
        "0.01",
    ]
