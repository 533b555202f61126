"""The wording of errors, and lists in words."""

import numpy as np
import pytest

from tf1bn._util import text, validation

REFUSED = {
    "number": (lambda: validation.number("decay", 1.5, 0, 1), "a number from 0 to 1, or null where it is not known"),
    "nan": (lambda: validation.number("decay", float("nan")), "a finite number, or null where it is not known"),
    "range": (lambda: validation.in_range("decay", 1.5, 0, 1), "a number from 0 to 1"),
    "infinite": (lambda: validation.in_range("decay", float("inf"), low=0), "a finite number, 0 or more"),
    "huge": (lambda: validation.in_range("decay", 10**400, high=3), "a finite number, 3 or less"),
    "whole": (lambda: validation.whole("step", -1), "a whole number, 0 or more"),
    "boolean": (lambda: validation.boolean("training", 1), "true or false"),
    "dict": (lambda: validation.member("layer", [], dict), "an object"),
    "list": (lambda: validation.member("inputs", {}, list), "a list"),
    "choice": (lambda: validation.one_of("fused", 1, (True, False, None)), "true, false or null"),
    "word": (lambda: validation.one_of("keep", "all", ("inputs", "moments")), '"inputs" or "moments"'),
}


@pytest.mark.parametrize("case", REFUSED)
def test_one_wording_for_all_refusals(case):
    call, wanted = REFUSED[case]
    with pytest.raises(ValueError, match=rf"^`\w+` is .*; it must be {wanted}\.$"):
        call()


@pytest.mark.parametrize("value", ["0.5", True, None, [1]])
def test_what_is_no_number_is_a_type_error(value):
    with pytest.raises(TypeError, match=r"^`decay` is .*; it must be a number from 0 to 1\.$"):
        validation.in_range("decay", value, 0, 1)


def test_what_is_right_is_returned():
    array = np.zeros((2, 3), np.float32)
    assert validation.number("decay", None) is None
    assert validation.number("decay", np.float32(0.5), 0, 1) == 0.5
    assert validation.in_range("decay", 1, 0, 1) == 1.0
    assert validation.one_of("fused", None, (True, None)) is None
    assert validation.whole("step", np.int64(3)) == 3
    assert validation.shape("x", array, (None, 3)) is array
    assert validation.dtype("x", array, ("float16", "float32")) is array


def test_shapes_and_dtypes():
    array = np.zeros((2, 3), np.int64)
    for expected, shown in (((2,), r"\(2,\)"), ((None, 4), r"\(any, 4\)")):
        with pytest.raises(ValueError, match=rf"^`x` has shape \(2, 3\); it must be {shown}\.$"):
            validation.shape("x", array, expected)
    with pytest.raises(ValueError, match=r"^`x` has dtype int64; it must be float16, float32 or float64\.$"):
        validation.dtype("x", array, ("float16", "float32", "float64"))


def test_long_values_are_cut():
    with pytest.raises(ValueError, match=r"^`name` is 'a{56}\.\.\.; it must be \"b\"\.$"):
        validation.one_of("name", "a" * 1000, ("b",))


def test_lists_in_words():
    assert text.listed([], 3) == "none"
    assert text.listed(range(3), 3) == "0, 1, 2"
    assert text.listed((name for name in "abcde"), 3) == "a, b, c and 2 more"
    assert text.quoted(["a", "b"]) == "`a`, `b`"
    assert text.quoted("abcd") == "`a`, `b`, `c` and 1 more"
    assert text.counted(1, "layer") == "1 layer"
    assert text.counted(0, "layer") == "0 layers"
