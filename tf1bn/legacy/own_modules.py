"""Which modules are a script's own, and not installed ones."""

import collections
import glob
import os
import sys
import sysconfig

_PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


def own_folders(first):
    """A function that says whether modules in a folder are the script's own.

    They are below its own folder ``first``, below those of PYTHONPATH, and below what it adds to ``sys.path``.
    """
    before = collections.Counter(sys.path)
    of_environment = python_path()
    standard = [os.path.realpath(sysconfig.get_paths()[name]) for name in ("stdlib", "platstdlib")]
    standard.append(_PACKAGE)
    spelled_first, first = os.path.abspath(first), os.path.realpath(first)

    def own(folder):
        # A package that is a link in the project's folder is the project's, wherever it leads.
        spelled, folder = os.path.abspath(folder), os.path.realpath(folder)
        if any(_below(folder, other) for other in standard):
            return False
        # A virtual environment may lie inside the project.
        if {"site-packages", "dist-packages"} & (set(folder.split(os.sep)) - set(first.split(os.sep))):
            return False
        # A folder that was there already may be added once more, in whatever spelling.
        added = {os.path.realpath(entry) for entry in collections.Counter(sys.path) - before}
        own_entries = added | of_environment | {first}
        return _below(spelled, spelled_first) or any(_below(folder, entry) for entry in own_entries)

    return own


def _below(folder, other):
    return folder == other or folder.startswith(other + os.sep)


def python_path():
    """The real paths of PYTHONPATH's entries that hold a project's modules and no installed packages."""
    paths = os.environ.get("PYTHONPATH")
    # An empty entry is the working directory.
    entries = {os.path.realpath(entry) for entry in paths.split(os.pathsep)} if paths else set()
    return {entry for entry in entries if not glob.glob(os.path.join(glob.escape(entry), "*.dist-info"))}
