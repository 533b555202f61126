"""The extension itself: how it is found, refused, and what it refuses."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tf1bn
from tf1bn import _native
from tf1bn._native import _moments, _moving, _replay

PACKAGE = Path(tf1bn.__file__).parent
SOURCES = PACKAGE.parent / "ext"
NATIVE = (_moments, _moving, _replay)
BUILD = "`make reproduce` and `make test` build it, and so does `pip install -e .`, in the source checkout."

# Without the hook of `pip install -e .`, which would find the extension of the real checkout.
IMPORT = """
import sys
sys.meta_path = [finder for finder in sys.meta_path if "__editable__" not in getattr(finder, "__module__", "")]
import tf1bn.checker
print(tf1bn.__file__)
"""


@pytest.fixture
def checkout(tmp_path):
    """A copy of the package with its extension and the sources beside it."""
    shutil.copytree(PACKAGE, tmp_path / "tf1bn", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(SOURCES, tmp_path / "ext")
    return tmp_path


def import_checker(checkout):
    """Import the copy in a fresh interpreter; returns its exit code and its last line of output."""
    # With -c, the first folder on the path is the current one.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-c", IMPORT],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
    )
    return result.returncode, (result.stdout + result.stderr).strip().splitlines()[-1]


def test_the_copy_is_imported(checkout):
    assert import_checker(checkout) == (0, str(checkout / "tf1bn" / "__init__.py"))


@pytest.mark.parametrize("missing", ["_moments", "_moving", "_replay"])
def test_a_missing_extension_is_refused(checkout, missing):
    for path in (checkout / "tf1bn" / "_native").glob(f"{missing}.*"):
        path.unlink()
    code, message = import_checker(checkout)
    assert code == 1
    assert message.startswith("ImportError: The compiled extension of tf1bn cannot be imported (")
    assert message.endswith(BUILD)


def test_an_extension_of_another_version_is_refused(checkout):
    path = checkout / "tf1bn" / "__init__.py"
    text = path.read_text(encoding="utf-8")
    newer = text.replace(f'__version__ = "{tf1bn.__version__}"', '__version__ = "99.0"')
    assert newer != text
    path.write_text(newer, encoding="utf-8")
    code, message = import_checker(checkout)
    assert code == 1
    assert message == (
        f"ImportError: The compiled extension tf1bn._native._moments is of version {tf1bn.__version__} and the "
        f"package of 99.0; build it again: {BUILD}"
    )


@pytest.mark.parametrize("change", ["edited", "added", "header"])
def test_an_extension_from_other_sources_is_refused(checkout, change):
    source = checkout / "ext" / ({"edited": "_moments.pyx", "added": "_more.pxd", "header": "_more.h"}[change])
    with source.open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    code, message = import_checker(checkout)
    assert code == 1
    assert message == (
        "ImportError: The compiled extension tf1bn._native._moments was built from other sources than those in "
        f"{checkout / 'ext'}; build it again: {BUILD}"
    )


def test_line_endings_do_not_make_the_sources_different(checkout):
    source = checkout / "ext" / "_moments.pyx"
    source.write_bytes(source.read_bytes().replace(b"\n", b"\r\n"))
    assert import_checker(checkout)[0] == 0


def test_an_installed_package_has_no_sources_to_compare_with(checkout):
    shutil.rmtree(checkout / "ext")
    assert import_checker(checkout)[0] == 0


def test_the_extension_knows_what_it_was_built_from():
    for module in NATIVE:
        assert module.version == tf1bn.__version__
        assert module.source_hash == _native._source_hash(SOURCES)
        assert len(module.source_hash) == 64


# The Python face checks all arguments before; these keep a slip there from reading wild memory.


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        (np.ones((2, 3), np.int32), TypeError, "reads float16, bfloat16, float32 and float64, not format"),
        (np.ones((2, 3), complex), TypeError, "not format"),
        (np.ones((2, 3), "f4,f4"), TypeError, "not format"),
        (np.ones(3), ValueError, "reads 2 to 64 axes, not 1"),
        (np.ones((2, 0)), ValueError, "at least one channel"),
        (None, TypeError, "bytes-like"),
    ],
)
def test_a_batch_that_cannot_be_read_is_refused(batch, error, message):
    with pytest.raises(error, match=message):
        _moments.Batch(batch)


@pytest.mark.parametrize(
    ("state", "first", "count", "channel", "message"),
    [
        ((3, 3), 0, 8, 0, r"must be \[4, channels\]"),
        ((4, 0), 0, 8, 0, "at least one channel"),
        ((4, 4), 0, 8, 0, "all in the batch"),
        ((4, 3), 0, 8, 1, "all in the batch"),
        ((4, 3), 0, 8, -1, "all in the batch"),
        ((4, 3), -1, 4, 0, "must be some of 8"),
        ((4, 3), 0, 0, 0, "must be some of 8"),
        ((4, 3), 4, 5, 0, "must be some of 8"),
        ((4, 3), 8, 2**62, 0, "must be some of 8"),
    ],
)
def test_rows_and_states_that_are_not_of_the_batch_are_refused(state, first, count, channel, message):
    with pytest.raises(ValueError, match=message):
        _moments.Batch(np.ones((8, 3))).accumulate(np.zeros(state), first, count, channel)


def test_rows_begin_where_runs_begin():
    batch = _moments.Batch(np.moveaxis(np.ones((5, 3, 20), np.float32), 1, -1))
    assert (batch.count, batch.rows, batch.grain) == (100, 100, 20)
    with pytest.raises(ValueError, match="begin at multiples of 20"):
        batch.accumulate(np.zeros((4, 3)), 10, 20)
    with pytest.raises(ValueError, match="begin at multiples of 20"):
        batch.accumulate(np.zeros((4, 3)), 0, 30)


@pytest.mark.parametrize(
    ("state", "poison", "weights", "first", "count", "message"),
    [
        ((3, 3), 3, 8, 0, 8, r"state must be \[4, channels\]"),
        ((4, 4), 4, 8, 0, 8, "all in the batch"),
        ((4, 3), 2, 8, 0, 8, "poison must have the channels"),
        ((4, 3), 3, None, 0, 8, "must have weights"),
        ((4, 3), 3, 8, 0, 9, "must be some of 8"),
        ((4, 3), 3, 8, 1, 8, "must be some of 8"),
        ((4, 3), 3, 8, 1, 0, "must be some of 8"),
        ((4, 3), 3, 8, -1, 4, "must be some of 8"),
    ],
)
def test_weighted_rows_that_are_not_of_the_batch_are_refused(state, poison, weights, first, count, message):
    batch = _moments.Batch(np.ones((8, 3)), weights=None if weights is None else np.ones(weights))
    with pytest.raises(ValueError, match=message):
        batch.accumulate_weighted(np.zeros(state), np.zeros(poison), first, count)


def test_each_item_has_a_weight():
    with pytest.raises(ValueError, match="weights must be 8, one for each item"):
        _moments.Batch(np.ones((8, 3)), weights=np.ones(9))


def test_a_batch_with_weights_is_no_task():
    batch = _moments.Batch(np.ones((8, 3)), weights=np.ones(8))
    with pytest.raises(ValueError, match="A batch with weights is no task"):
        _moments.Tasks().add(batch, np.zeros((4, 3)), 0, 8, 8)


def test_states_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="same channels"):
        _moments.merge_states(np.zeros((4, 2)), np.zeros((4, 3)), 0.5)
    with pytest.raises(ValueError, match="same channels"):
        _moments.merge_states(np.zeros((3, 2)), np.zeros((3, 2)), 0.5)


_STEP = {"weighted": False, "bessel": False, "rate": (0.5, 0.0), "keep": (0.5, 0.0)}
_STEP |= {"slack": 0.0, "keep_slack": 0.0, "forms": [(None, 0.5, 24)], "recurrence": 1, "deviations": 6.0}
_STEP |= {"sum_unit": 1e-7, "sum_smallest": 0.0, "sum_bits": 24, "unit": 1e-7, "smallest": 0.0, "bits": 24}


def test_steps_that_do_not_fit_are_refused():
    figures = _moving.Figure.RUNS + 1
    step = dict(_STEP)
    steps = _moving.Steps(2, **step)
    steps.advance(np.zeros((2, figures, 2)), np.zeros((3, 2)), np.zeros((3, 2)), np.zeros(3, np.uint8))
    for stats, mean, variance, repeated in (
        ((2, figures, 2), (3, 3), (3, 2), 3),
        ((2, figures, 2), (3, 2), (3, 3), 3),
        ((2, figures, 2), (3, 2), (2, 2), 3),
        ((2, figures, 2), (3, 2), (3, 2), 2),
        ((1, figures, 2), (3, 2), (3, 2), 3),
        ((2, figures, 3), (3, 2), (3, 2), 3),
        ((2, figures - 1, 2), (3, 2), (3, 2), 3),
        ((2, figures + 1, 2), (3, 2), (3, 2), 3),
    ):
        with pytest.raises(ValueError, match="same channels"):
            steps.advance(np.zeros(stats), np.zeros(mean), np.zeros(variance), np.zeros(repeated, np.uint8))
    steps.predict(np.zeros((2, 5)), np.zeros(5), np.zeros(5), np.zeros((3, 2, 5)))
    for before, mean, variance, out in (
        ((1, 5), 5, 5, (3, 2, 5)),
        ((2, 4), 5, 5, (3, 2, 5)),
        ((2, 5), 4, 5, (3, 2, 5)),
        ((2, 5), 5, 4, (3, 2, 5)),
        ((2, 5), 5, 5, (3, 2, 4)),
        ((2, 5), 5, 5, (2, 2, 5)),
    ):
        with pytest.raises(ValueError, match="The statistics must be"):
            steps.predict(np.zeros(before), np.zeros(mean), np.zeros(variance), np.zeros(out))
    step["forms"] = [(None, 0.5, 24)] * 13
    with pytest.raises(ValueError, match="at most 12 forms"):
        _moving.Steps(2, **step)
    with pytest.raises(ValueError, match="no variant 'quick'"):
        _moving.Steps(2, **step | {"forms": [], "variant": "quick"})


def test_figures_that_do_not_fit_are_refused():
    figures = _moving.Figure.RUNS + 1
    with pytest.raises(ValueError, match="The values must be"):
        _moving.start(np.zeros((2, 3)), 24, np.zeros((2, figures, 2)))
    with pytest.raises(ValueError, match="The values must be"):
        _moving.start(np.zeros((2, 3)), 24, np.zeros((2, 4, 3)))
    with pytest.raises(ValueError, match="The statistics must be"):
        _moving.bounds(np.zeros((2, figures, 3)), 6.0, np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="The statistics must be"):
        _moving.bounds(np.zeros((2, figures + 12, 3)), 6.0, np.zeros((2, 2, 3)))
    for observed, bound, out in (((3, 2), (3, 2), 2), ((3, 2), (2, 2), 3), ((3, 0), (3, 0), 3), ((3, 2), (3, 1), 3)):
        with pytest.raises(ValueError, match="The values must be"):
            _moving.largest_shares(np.zeros(observed), np.zeros(observed), np.zeros(bound), np.zeros(out))
    statistics, moments = np.zeros((2, 3, 4)), np.zeros((3, 4))
    for before, after, mean, out in (
        (np.zeros((1, 3, 4)), statistics, moments, 3),
        (statistics, np.zeros((2, 2, 4)), moments, 3),
        (statistics, np.zeros((2, 3, 5)), moments, 3),
        (statistics, statistics, np.zeros((3, 5)), 3),
        (statistics, statistics, np.zeros((2, 4)), 3),
        (statistics, statistics, moments, 2),
    ):
        with pytest.raises(ValueError, match="The statistics must be"):
            _moving.terms(before, after, mean, moments, 0.0, 0.0, False, np.zeros((5, out, 4)))
        with pytest.raises(ValueError, match="The statistics must be"):
            _moving.Steps(2, **_STEP).shares(before, after, mean, moments, np.zeros((2, out)))
    words = np.zeros((2, 3, 4), np.uint64)
    for weights, count in (((1, 4), 3), ((2, 3), 3), ((2, 4), 2)):
        with pytest.raises(ValueError, match="The numbers must be"):
            _moving.fingerprints(words, np.zeros(weights, np.uint64), np.zeros(count, np.uint64))


def test_replays_that_do_not_fit_are_refused():
    rows, slots, sums, welfords = np.zeros((5, 2), np.float32), _replay.slots, _replay.sums, _replay.welfords

    def take(front=rows, back=rows, weights=None, back_weights=None, centers=None, first=0, length=1, shape=(slots, 2)):
        state = np.zeros(shape, np.float32)
        _replay.take(front, back, weights, back_weights, centers, first, length, False, state)

    five, six = (np.ones(count, np.float32) for count in (5, 6))
    take()
    take(weights=five, back_weights=five, centers=np.zeros((sums - 1, 2), np.float32))
    for change in (
        {"back": rows[1:]},
        {"back": np.zeros((5, 3), np.float32)},
        {"weights": five},
        {"back_weights": five},
        {"weights": five, "back_weights": six},
        {"weights": six, "back_weights": five},
        {"centers": np.zeros((sums - 1, 3), np.float32)},
        {"centers": np.zeros((sums, 2), np.float32)},
        {"shape": (slots, 3)},
        {"shape": (slots - 1, 2)},
    ):
        with pytest.raises(ValueError, match="must fit each other"):
            take(**change)
    for change in ({"length": 0}, {"first": -1}):
        with pytest.raises(ValueError, match="`length` must be at least 1"):
            take(**change)
    with pytest.raises(ValueError, match="no variant 'avx'"):
        _replay.take(rows, rows, None, None, None, 0, 1, False, np.zeros((slots, 2), np.float32), "avx")
    for state, out in (((slots, 2), (sums, 3)), ((slots, 2), (sums - 1, 2)), ((slots - 1, 2), (sums, 2))):
        with pytest.raises(ValueError, match="same channels"):
            _replay.totals(np.zeros(state), 1, np.zeros(out))
    orders = sums + welfords
    for state, divisors, out in (
        ((slots, 2), sums - 1, (2, orders, 3)),
        ((slots, 2), sums - 1, (1, orders, 2)),
        ((slots, 2), sums - 1, (2, orders - 1, 2)),
        ((slots, 2), sums, (2, orders, 2)),
        ((9, 2), sums - 1, (2, orders, 2)),
    ):
        with pytest.raises(ValueError, match="State, divisors and result must fit"):
            _replay.means(np.zeros(state), 1, np.ones(divisors), True, np.zeros(out))
        with pytest.raises(ValueError, match="State, divisors and result must fit"):
            _replay.variances(np.zeros(state), 1, np.ones(divisors), True, False, np.zeros(out))


def test_a_read_only_state_is_refused():
    state = np.zeros((4, 3))
    state.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        _moments.Batch(np.ones((2, 3))).accumulate(state, 0, 2)


def test_the_baseline_is_a_variant_and_no_unknown_one_is():
    assert _moments.variants[-1] == "baseline"
    batch, state = _moments.Batch(np.ones((2, 3))), np.zeros((4, 3))
    with pytest.raises(ValueError, match=r"This machine has no variant 'mmx'; it has .*baseline"):
        batch.accumulate(state, 0, 2, variant="mmx")
    with pytest.raises(ValueError, match="no variant 'mmx'"):
        _moments.merge_states(state, state.copy(), 0.5, variant="mmx")
