"""Tells what a script needs of TensorFlow, as text and for JSON."""

import os

from ..._util.printable import printable
from ..._util.text import counted, listed
from . import names
from .sources import Sources

FORMAT = "tf1bn-explain"


def explain(script):
    """What a script and its own modules use of TensorFlow, and what becomes of each name; a dict for JSON.

    Returns:
      The keys are format, version, ok, script, tensorflow (the release whose names are known), files, and names: a list
      of dicts with name, status ("there", "lent", "needs", "gone" or "unknown"), use (what to do, or None), optional
      (whether the script expects that it may be missing) and places, each with file and line; and unread: modules that
      were not found, each with module, optional and places; and at_run_time: imports of modules whose names are made at
      run time, each with call, optional and places. It is ok if every name that is not optional is there or lent, and
      no module that is not optional is unread.

    Raises:
      CommandError: the script or one of its modules cannot be read, or is neither Python 3 nor Python 2.
    """
    sources = Sources(script)
    rows = [_row(name, uses) for name, uses in _by_name(sources.uses)]
    unread = [{"module": name, **_where(uses)} for name, uses in _by_name(sources.unread)]
    at_run_time = [{"call": name, **_where(uses)} for name, uses in _by_name(sources.at_run_time)]
    return {
        "format": FORMAT,
        "version": 1,
        "ok": all(row["optional"] or row["status"] not in names.IN_THE_WAY for row in rows)
        and all(row["optional"] for row in unread),
        "script": os.fspath(script),
        "tensorflow": names.table()["tensorflow"],
        "files": [_relative(path) for path in sources.files],
        "names": rows,
        "unread": unread,
        "at_run_time": at_run_time,
    }


def _by_name(uses):
    grouped = {}
    for use in uses:
        grouped.setdefault(use.name, []).append(use)
    return sorted(grouped.items())


def _row(name, uses):
    fate = names.fate(name)
    return {
        "name": f"tf.{name}" if name else "tf",
        "status": fate.status,
        "use": fate.use,
        **_where(uses),
    }


def _where(uses):
    return {
        "optional": all(use.optional for use in uses),
        "places": [{"file": _relative(use.file), "line": use.line} for use in uses],
    }


def _relative(path):
    relative = os.path.relpath(path)
    return path if relative.startswith(os.pardir) else relative


def to_text(report):
    """The report as lines for a terminal: what is in the way first, each with its places and what to do."""
    rows = report["names"]
    counts = {
        status: sum(row["status"] == status for row in rows) for status in (names.THERE, names.LENT, *names.IN_THE_WAY)
    }
    shown = [
        f"{counts[names.THERE]} there",
        f"{counts[names.LENT]} lent",
        f"{counts[names.NEEDS]} in packages that are not installed",
        f"{counts[names.GONE_AWAY]} gone",
    ]
    shown += [f"{counts[names.UNKNOWN]} not known"] * bool(counts[names.UNKNOWN])
    groups = {}
    for row in rows:
        groups.setdefault((row["status"], row["use"]), []).append(f"{row['name']} ({_places(row)})")
    lines = [
        f"{status:8}{', '.join(group)}: {use}."
        for wanted in names.IN_THE_WAY
        for (status, use), group in groups.items()
        if status == wanted
    ]
    unread = [f"{row['module']} ({_places(row)})" for row in report["unread"]]
    if unread:
        use = "not found here and so not read; install it, or put the script's folders on PYTHONPATH"
        lines.append(f"unread  {', '.join(unread)}: {use}.")
    calls = [f"{row['call']} ({_places(row)})" for row in report["at_run_time"]]
    if calls:
        use = "the name is made at run time, so what it imports was not read; run --explain on it too"
        lines.append(f"unread  {', '.join(calls)}: {use}.")
    for status in (names.LENT, names.THERE):
        listing = ", ".join(row["name"] for row in rows if row["status"] == status)
        lines += [f"{status:8}{listing}"] * bool(listing)
    lines.append(
        f"{report['script']}: {counted(len(report['files']), 'source')}, {counted(len(rows), 'name')} of TensorFlow: "
        f"{', '.join(shown)} (by the names of TensorFlow {report['tensorflow']})."
    )
    return "\n".join(map(printable, lines))


def _places(row):
    places = listed([f"{place['file']}:{place['line']}" for place in row["places"]], 3)
    return f"{places}, which the script does without" if row["optional"] else places
