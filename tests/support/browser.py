"""A real browser without a window, for the pages of reports."""

import os
import shutil
import subprocess

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ABSENT = "no chromium, chromium-browser or google-chrome is installed here"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


def needed(test):
    """A decorator of tests that show a page."""
    return pytest.mark.browser(pytest.mark.skipif(BROWSER is None, reason=ABSENT)(test))


def dumped(page, profile, *options):
    """The finished process that showed the file ``page`` and printed its elements; ``profile``: a folder to make."""
    command = [BROWSER, *FLAGS, f"--user-data-dir={profile}", *options, "--dump-dom", page.as_uri()]
    # It writes into the home, whatever folder it is given.
    environment = {**os.environ, "HOME": str(profile.parent)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    return done
