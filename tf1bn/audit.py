"""``tf1bn audit``: what a trace shows about every batch-norm layer in it, and why."""

import fnmatch
import os
import sys
import types

from . import files
from .command import CannotWork

DESCRIPTION = """Judge the moving statistics of every batch-norm layer in a trace, step by step, and name the cause
where they are not what they should be.

examples:
  tf1bn audit run.trace
  tf1bn audit run.trace --json audit.json --layer 'resnet/*'

exit codes: 0 all well; 1 a finding; 2 something is undecidable or the command could not do its work; 130
interrupted"""


def add_arguments(parser):
    """Declare the options of ``tf1bn audit`` on an argparse parser."""
    parser.add_argument("path", metavar="TRACE", help="the folder of a trace")
    parser.add_argument("--json", metavar="FILE", help="write the verdicts and causes as JSON")
    parser.add_argument("--layer", metavar="PATTERN", help="judge only the layers with such names, as in 'block1/*'")
    parser.add_argument("--quiet", action="store_true", help="list only the layers that are not ok")


def run(args):
    """Do what the parsed ``args`` ask for and print the report; returns the exit code.

    Raises:
      CannotWork: there is no such trace, it is damaged, or the JSON cannot be written.
    """
    try:
        if args.json is not None:
            files.check_writable(args.json, "--json")
    except files.Unwritable as error:
        raise CannotWork(str(error)) from error
    _refuse_checkpoints(args.path)
    from . import auditreport, diagnosis, report, trace

    out = report.console()
    try:
        opened = _selected(trace.open(args.path), args.layer)
        with auditreport.progress(opened, sys.stderr) as advance:
            results = diagnosis.diagnose(opened, progress=advance)
    except trace.TraceError as error:
        raise CannotWork(str(error)) from error
    found = auditreport.result(results)
    auditreport.audit(found, args.path, out, quiet=args.quiet)
    # Last, so that a file that says ok was written by a command that ends with 0.
    if args.json is not None:
        try:
            files.write_file(args.json, files.to_json(found).encode(), "--json")
        except files.Unwritable as error:
            raise CannotWork(str(error)) from error
    return auditreport.exit_code(found)


def _refuse_checkpoints(path):
    """Say that a checkpoint is none of what can be audited yet."""
    names = os.listdir(path) if os.path.isdir(path) and os.access(path, os.R_OK) else ()
    prefix = any(os.path.exists(path + ending) for ending in (".index", ".meta", ".data-00000-of-00001"))
    if "trace.json" not in names and ("checkpoint" in names or prefix or path.endswith((".npz", ".ckpt", ".index"))):
        raise CannotWork(f"`TRACE` is {path!r}, which is a checkpoint; this version of tf1bn audits traces only.")


def _selected(opened, pattern):
    """The trace with those layers alone whose names match."""
    if pattern is None:
        return opened
    layers = {name: layer for name, layer in opened.layers.items() if fnmatch.fnmatchcase(name, pattern)}
    if not layers:
        raise CannotWork(f"`--layer` is {pattern!r}, which matches none of the {len(opened.layers)} layers.")
    return Selection(opened, layers)


class Selection:
    """A trace of which only some layers are looked at."""

    def __init__(self, opened, layers):
        self._opened = opened
        self.layers = types.MappingProxyType(layers)

    def __iter__(self):
        return iter(self._opened)

    def count_steps(self):
        return self._opened.count_steps()
