"""What a page says: the answer, what was found by cause, a row for each layer, and exact numbers on demand."""

import math
import re

import pages
import pytest
from pages import Page, audit, cause, layer, mixed, worst

from tf1bn import verdicts
from tf1bn._util import text as text_module
from tf1bn.reports import html
from tf1bn.reports.layers.declared import own_settings, usual_settings


def page_of(*layers, **more):
    return Page(html.render(audit(*layers, **more)))


def test_the_page_says_what_the_audit_found():
    page = Page(html.render(mixed()))
    assert "Audit of run.trace" in page.text
    assert "Something is wrong in 2 of 5 layers." in page.text
    for count in ("2 finding", "1 undecidable", "1 ok, advisory", "1 ok"):
        assert count in page.text
    assert "The last step is unfinished." in page.text
    assert "tf1bn 9.8.7" in page.text
    assert "400 steps would decide." in page.text
    assert "explains the numbers; largest remaining error 25 % of the allowed" in page.text
    assert "estimate of alpha between 0.1 and 0.2 estimate of k 1.016" in page.text
    assert page.text.index("bessel: It is said in words.") < page.text.index("double-update: It is said in words.")


def test_what_was_found_stands_on_top_by_cause_with_what_to_do():
    many = [layer(f"n{i}", "finding", [cause("bessel", remedy="Divide by N.")]) for i in range(9)]
    more = layer("x", "finding", [cause("decay", remedy="In PyTorch."), cause("bessel", remedy="Divide by N.")])
    young = layer("y", causes=[cause("cold-start", "advisory", remedy="Train longer.")])
    known = layer("z", causes=[cause("no-bessel", accepted=True, remedy="Not needed.")])
    other = layer("w", "finding", [cause("decay", remedy="In Keras.")])
    page = page_of(young, *many, known, more, other)
    top = page.text[: page.text.index("All layers")]
    assert top.index("bessel finding") < top.index("decay finding") < top.index("cold-start advisory")
    assert top.index("cold-start advisory") < top.index("no-bessel accepted")
    assert top.count("What to do: Divide by N.") == 1
    assert "What to do: In PyTorch. What to do: In Keras." in top
    assert verdicts.CAUSES["bessel"].title[1:] in top
    assert re.search(r"In 10 of 13 layers: n0, n1, n2, n3, n4, n5 and 4 more", top)
    assert "In 2 of 13 layers: x, w" in top


def test_reasons_why_layers_are_undecidable_are_said_once():
    layers = [layer(f"n{i}", "undecidable", explanation=f"N = {i + 10}, record smaller batches.") for i in range(4)]
    page = page_of(*layers, layer("other", "undecidable", explanation="No decay is known."))
    top = page.text[: page.text.index("All layers")]
    assert top.count("record smaller batches.") == 1
    assert "In 4 of 5 layers: n0, n1, n2, n3" in top
    assert "No decay is known." in top


def test_a_page_without_faults_has_no_such_part():
    assert "What was found" not in page_of(layer("x"), layer("y")).text


def test_the_most_severe_come_first_and_the_order_of_the_network_is_a_column():
    page = Page(html.render(mixed()))
    assert page.cells == [
        "5 head diverges first finding unexplained variance: 6.7 % of the allowed 0",
        "4 worse finding bessel, double-update mean: 100 times the allowed -",
        "3 open undecidable none variance: 6.7 % of the allowed -",
        "2 young ok, advisory cold-start variance: 6.7 % of the allowed -",
        "1 good ok none variance: 6.7 % of the allowed -",
    ]
    assert len(page.find("th", scope="col", role="columnheader")) == 6
    assert len(page.find("th", scope="row", role="rowheader")) == 5
    assert page.find("html", lang="en")
    # Of equally severe layers the one that is further off comes first, and what has no number before all others.
    layers = [layer(f"by {e}", "finding", mean_error=e) for e in (1e-5, 1e-3, math.nan, 1e-4)]
    names = [re.match(r"\d+ (by \S+)", row)[1] for row in page_of(*layers).cells]
    assert names == ["by nan", "by 0.001", "by 0.0001", "by 1e-05"]


@pytest.mark.parametrize(
    ("error", "allowed", "text"),
    [
        (0.03, 0.05, "60 % of the expected error (channel 1, step 7)"),
        (0.075, 0.05, "1.5 times the expected error, 75 % of the worst case (channel 1, step 7)"),
        (5.0, 0.1, "50 times the worst case (channel 1, step 7)"),
    ],
)
def test_both_bounds_have_their_names_and_the_place_is_told(error, allowed, text):
    numbers = {"variance_error": error, "variance_bound": allowed}
    page = page_of(layer("x", "finding", worst={"mean": None, "variance": worst(error, 0.05, 0.1)}, **numbers))
    assert f"variance: {text}" in page.cells[0]
    assert "error expected error worst case" in page.text
    assert f"{error:.9g} 0.05 0.1" in page.text
    # Of another error the place is not told.
    numbers["variance_error"] = error * 2
    page = page_of(layer("x", "finding", worst={"mean": None, "variance": worst(error, 0.05, 0.1)}, **numbers))
    assert "channel" not in page.cells[0]


def test_a_row_has_two_misfits_at_most_and_the_details_have_all_digits():
    numbers = {"mean_error": 1 / 3, "mean_bound": 1e-6, "variance_error": 2 / 3, "variance_bound": 1e-6}
    page = page_of(layer("x", "finding", **numbers))
    assert page.cells[0].endswith("variance: 666,667 times the allowed mean: 333,333 times the allowed -") or (
        page.cells[0].endswith("variance: 667,000 times the allowed mean: 333,000 times the allowed -")
    )
    assert "0.333333333" in page.text
    assert "0.666666667" in page.text
    assert page_of(layer("x")).cells[0].count("the allowed") == 1


def test_an_explanation_is_not_said_twice():
    text = "Within the bound. It is said in words. Epsilon is unknown."
    page = page_of(layer("x", causes=[cause("cold-start", "advisory")], explanation=text))
    assert page.text.count("It is said in words.") == 1
    assert "Within the bound. Epsilon is unknown." in page.text


@pytest.mark.parametrize(
    ("layers", "more", "sentence", "tone"),
    [
        ([], {}, "Nothing was judged: there are no layers.", "undecidable"),
        (["ok"], {}, "No finding: the layer is as it should be.", "ok"),
        (["ok", "ok"], {}, "No finding: all 2 layers are as they should be.", "ok"),
        (["ok", "advisory"], {}, "No finding: all 2 layers are as they should be, with advice for 1.", "advisory"),
        (["advisory"], {}, "No finding: the layer is as it should be, with advice.", "advisory"),
        (
            ["ok", "undecidable"],
            {},
            "Nothing wrong was found, but 1 of 2 layers could not be decided.",
            "undecidable",
        ),
        (["finding", "undecidable"], {}, "Something is wrong in 1 of 2 layers.", "finding"),
        (["finding"], {"ok": True}, "Something is wrong in 1 of 1 layer.", "finding"),
        (["ok"], {"problems": ["Cut."]}, "Nothing wrong was found, but the audit is not complete.", "undecidable"),
        (["ok"], {"ok": False}, "Nothing wrong was found, but the audit is not complete.", "undecidable"),
        (["a new verdict"], {}, "Nothing wrong was found, but 1 of 1 layer could not be decided.", "undecidable"),
    ],
)
def test_the_verdict_in_words(layers, more, sentence, tone):
    made = [
        layer("x", causes=[cause("cold-start", "advisory")]) if verdict == "advisory" else layer("x", verdict)
        for verdict in layers
    ]
    text = html.render({**audit(*made), **more})
    assert sentence in Page(text).text
    assert f'<div class="overall {tone}">' in text


def test_what_is_missing_is_said():
    page = Page(html.render({"format": "tf1bn-audit", "ok": False, "layers": [{}]}, "Mine"))
    assert "Mine" in page.text
    assert "(a layer without a name)" in page.text
    assert "no verdict" in page.text
    assert "No cause is given." in page.text
    assert "steps not given" in page.text
    assert page.cells[0].endswith("none not measured -")
    nothing = dict.fromkeys(("mean_error", "mean_bound", "variance_error", "variance_bound"))
    page = page_of(layer("x", **nothing | {"steps": 0}))
    assert page.cells[0] == "1 x ok none not measured -"
    assert "steps 0" in page.text


BAD = [math.nan, math.inf, -math.inf, None, "NaN", 10**400, 1e308, -1e308, 5e-324, [1], True]


@pytest.mark.parametrize(
    "bad",
    [pytest.param(bad, marks=() if i == 5 else pytest.mark.slow) for i, bad in enumerate(BAD)],
    ids=lambda bad: repr(bad)[:6],
)
def test_no_number_breaks_the_page(bad):
    numbers = dict.fromkeys(
        ("mean_error", "mean_bound", "variance_error", "variance_bound", "steps", "inherited_error", "added_error"), bad
    )
    curves = {}
    for name in ("observed", "expected", "expected_error", "worst_case", "step", "at"):
        for where in ("one", "all"):
            made = {**pages.curve(5), "at": 2}
            made[name] = bad if name == "at" else [bad] * 5 if where == "all" else [*made[name][:4], bad]
            curves[f"{name}_{where}"] = made
    curves["everything"] = {**dict.fromkeys(("observed", "expected", "bound"), [bad] * 5), "channel": bad}
    place = dict.fromkeys(worst(1, 1, 1), bad)
    given = layer("x", "finding", [cause("a", misfit=bad)], estimates={"k": bad, "l": [bad, bad]}, curves=curves)
    text = html.render(audit({**given, **numbers, "worst": {"mean": place, "variance": bad}, "first_step": bad}))
    page = Page(text)
    assert len(page.find("figure")) == 13
    assert len(page.find("svg")) >= 8
    assert not re.search(r"nan|inf", pages.drawn(text))
    # As words, and never as Python spells them.
    assert not re.search(r"\b(nan|inf|-inf|None)\b", page.text)


def test_numbers_in_words():
    said = [text_module.in_words(value) for value in (math.nan, math.inf, -math.inf, None, 10**400, 0.1 + 0.2)]
    assert said == ["not a number", "infinite", "minus infinite", "not given", "too large", "0.3"]
    text = html.render(audit(layer("x", "finding", mean_error=math.nan, variance_error=1.0, variance_bound=0)))
    row = Page(text).cells[0]
    assert "mean: the error is not a number" in row
    assert "variance: 1, where none is allowed" in row
    assert text.count('<span class="over">') == 2


def test_the_output_errors_of_a_trace_stand_beside_their_bounds():
    numbers = {"inherited_error": 0.125, "inherited_bound": 1e-6, "added_error": 0.375, "added_bound": 2e-6}
    page = page_of(layer("x", "finding", **numbers))
    assert "outputs, by wrong statistics 0.125 1e-06 outputs, by the arithmetic 0.375 2e-06" in page.text
    assert "outputs, by the arithmetic: 188,000 times the allowed" in page.cells[0]


def test_both_bounds_of_the_outputs_have_their_names_and_their_place():
    place = {"step": 4, "channel": 2, "training": True, "error": 0.5, "expected_error": 0.25, "worst_case": 2.0}
    numbers = {"added_error": 0.5, "added_bound": 2.0, "outputs": {"inherited": None, "added": place}}
    page = page_of(layer("x", "ok", **numbers))
    assert (
        "outputs, by the arithmetic: 2 times the expected error, 25 % of the worst case (channel 2, step 4)"
        in page.text
    )
    assert "of error expected error worst case allowed channel step" in page.text
    assert "outputs, by the arithmetic 0.5 0.25 2 - 2 4" in page.text


def test_what_the_batch_normalises_has_no_error_from_the_statistics():
    numbers = {"inherited_error": 0.125, "inherited_bound": 1e-6, "added_error": 0.375, "added_bound": 2e-6}
    page = page_of(layer("x", "finding", [cause("batch-stats-at-inference")], **numbers))
    assert "by wrong statistics" not in page.text


def test_a_cause_that_a_layer_has_twice_is_one():
    page = page_of(layer("x", "finding", [cause("not-finite"), cause("not-finite", explanation="Here too.")]))
    assert "In 1 of 1 layer: x Show" in page.text
    assert page.cells[0].startswith("1 x finding not-finite variance")
    assert "Here too." in page.text


def test_the_head_says_what_the_trace_is_of():
    settings = {"decay": 0.9, "epsilon": 1e-5, "data_format": "NCHW", "axis": 1, "dtype": "float32", "fused": True}
    numbers = {"steps": 5, "training_steps": 3, "settings": settings}
    result = audit(layer("x", **numbers), layer("y", **numbers)) | {
        "about": {"framework": "PyTorch", "framework_version": "2.13.0"}
    }
    page = Page(html.render(result))
    declared = "decay 0.9, epsilon 1e-05, NCHW, axis 1, float32, variance with N/(N-1)"
    assert f"PyTorch 2.13.0; 5 steps (3 training, 2 inference); declared of every layer: {declared}." in page.text
    assert f"steps 5, of which 3 train declared {declared}" in page.text


def test_the_head_says_no_more_than_holds_for_all_layers():
    settings = {"decay": 0.9, "epsilon": 1e-5}
    layers = [
        layer("x", steps=5, training_steps=3, settings=settings),
        layer("y", steps=8, training_steps=8, settings=settings | {"decay": 0.5}),
        layer("z", steps=8, training_steps=8, settings={"epsilon": 1e-5}),
    ]
    page = Page(html.render(audit(*layers)))
    head = "5 to 8 steps of each layer (3 to 8 training, 0 to 2 inference); declared of most layers: epsilon 1e-05."
    assert head in page.text
    # What a file holds in the place of these is left out.
    odd = audit(layer("x", steps=5, training_steps="3", settings=[1])) | {"about": "PyTorch"}
    assert "training" not in Page(html.render(odd)).text
    version_alone = audit(layer("x", steps=5, training_steps=3)) | {"about": {"framework_version": "2.13.0"}}
    assert "2.13.0" not in Page(html.render(version_alone)).text


def test_settings_that_are_not_equal_read_otherwise():
    layers = [{"name": name, "settings": {"decay": decay}} for name, decay in (("x", 0.9999999), ("y", 1), ("z", 1.0))]
    usual = usual_settings(layers)
    assert [own_settings(layer, usual) for layer in layers] == ["decay 0.9999999", "", ""]
