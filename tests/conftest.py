"""TensorFlow is imported here, before the tests, so that its own warnings at import are not taken for ours.

Tests that are marked gpu are skipped where TensorFlow sees none.
"""

import os
import signal
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# A shell's background job ignores Ctrl-C, and so would the processes that the tests start to interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tensorflow  # noqa: F401

import pytest

from tf1bn import errors
from tf1bn.reproduce import devices as session


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") is not None:
        try:
            session.require("gpu")
        except errors.DeviceUnavailableError as error:
            pytest.skip(str(error))
