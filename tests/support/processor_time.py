"""A plugin of pytest that ends with a table: what the tests of each folder take of the processor, in seconds.

    PYTHONPATH=tests/support make test ARGS="-p processor_time"

It depends less than wall time on what else the machine does. A test's processes count when they have ended.
"""

import collections
import os

import pytest

KEY = "processor seconds"
_before = {}
_folders = collections.defaultdict(lambda: [0, 0.0, 0.0])


def _now():
    times = os.times()
    return times.user + times.system, times.children_user + times.children_system


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logstart(nodeid):
    _before[nodeid] = _now()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    now = _now()
    before, _before[item.nodeid] = _before.get(item.nodeid, now), now
    taken = [new - old for new, old in zip(now, before, strict=True)]
    report.user_properties = [*report.user_properties, (KEY, taken)]
    return report


def pytest_runtest_logreport(report):
    row = _folders["/".join(report.nodeid.split("::")[0].split("/")[:2])]
    row[0] += report.when == "call"
    for name, (own, children) in report.user_properties:
        if name == KEY:
            row[1] += own
            row[2] += children


def pytest_terminal_summary(terminalreporter):
    if not _folders:
        return
    rows = sorted(_folders.items(), key=lambda item: -sum(item[1][1:]))
    rows.append(("all", [sum(column) for column in zip(*_folders.values(), strict=True)]))
    terminalreporter.section("processor seconds")
    terminalreporter.write_line(f"{'tests':>6} {'own':>8} {'children':>8}")
    for name, (count, own, children) in rows:
        terminalreporter.write_line(f"{count:6} {own:8.1f} {children:8.1f}  {name}")
