"""TensorFlow is imported before the tests, so that its own warnings at import are not taken for ours.

Tests that are marked gpu are skipped where TensorFlow sees none. What libraries keep in the home goes into a folder of
this run, which is removed at its end. docs/design/testing.md says what the tiers are.
"""

import gc
import os
import shutil
import signal
import tempfile
import warnings

import pytest

from tf1bn import errors

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Set where this process has been started by another that has made the folder.
MADE = None if "TF1BN_TESTS_HOME" in os.environ else tempfile.mkdtemp(prefix="tf1bn-tests-")
if MADE:
    os.environ["TF1BN_TESTS_HOME"] = MADE
    for name, folder in (("KERAS_HOME", "keras"), ("MPLCONFIGDIR", "matplotlib"), ("XDG_DATA_HOME", "data")):
        os.environ.setdefault(name, os.path.join(MADE, folder))

# A shell's background job ignores Ctrl-C, and so would the processes that the tests start to interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Files that take long, so that they do not start when all the others are done.
LONG = (
    "test_install",
    "test_wheels",
    "test_tf1_image",
    "test_docs",
    "test_readme",
    "test_run_as_module",
    "test_correct_layers",
    "test_recordings_contrib",
    "test_recordings_core",
    "test_recordings_releases",
    "test_reference_layers",
    "test_causes_tensorflow",
    "test_checkpoint_formats",
    "test_devices",
    "test_error_bounds",
    "test_reproduce",
)


def pytest_configure(config):
    # pytest-xdist's own process, which hands the tests out to others, runs none and needs no TensorFlow.
    handed_out = config.getoption("dist", "no") != "no" and not config.option.collectonly
    if handed_out and not hasattr(config, "workerinput"):
        return
    # What TensorFlow and the tests consist of stays, and would be gone through in every collection of garbage.
    gc.disable()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow  # noqa: F401


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


def pytest_unconfigure():
    if MADE:
        shutil.rmtree(MADE, ignore_errors=True)


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") is not None:
        from tf1bn.reproduce import devices

        try:
            devices.require("gpu")
        except errors.DeviceUnavailableError as error:
            pytest.skip(str(error))


def pytest_addoption(parser):
    parser.addoption("--case", metavar="TEXT", help="of recorded cases play only those whose name contains TEXT")


@pytest.fixture
def each_case(request):
    """A function that checks many cases in one test, ``each_case(rows, check)``; if any fail, it fails with their list.

    ``check(*row)`` raises where a case is wrong; the row is the name of the case.
    """
    text = request.config.getoption("--case")

    def run(rows, check):
        wrong = {}
        names = {"  ".join(row): row for row in rows}
        assert len(names) == len(rows)
        chosen = [name for name in names if text is None or text in name]
        if not chosen:
            pytest.skip(f"no case of this test has {text!r} in its name")
        for name in chosen:
            try:
                check(*names[name])
            except Exception as error:  # noqa: PERF203
                wrong[name] = error
        if wrong:
            lines = [f"{name}: {type(error).__name__}: {error}" for name, error in wrong.items()]
            message = "\n".join(
                [f"{len(wrong)} of {len(chosen)} cases are wrong; --case NAME checks one alone", *lines]
            )
            raise AssertionError(message) from next(iter(wrong.values()))

    return run
