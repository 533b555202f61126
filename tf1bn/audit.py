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
  tf1bn audit run.trace --json audit.json --html audit.html
  tf1bn audit run.trace --layer 'resnet/*' --quiet

exit codes: 0 all well; 1 a finding; 2 something is undecidable or the command could not do its work; 130
interrupted"""


def add_arguments(parser):
    """Declare the options of ``tf1bn audit`` on an argparse parser."""
    parser.add_argument("path", metavar="TRACE", help="the folder of a trace")
    parser.add_argument("--json", metavar="FILE", help="write the verdicts and causes as JSON")
    parser.add_argument("--html", metavar="FILE", help="write a page with causes and plots, to be read in a browser")
    parser.add_argument("--layer", metavar="PATTERN", help="judge only the layers with such names, as in 'block1/*'")
    parser.add_argument("--quiet", action="store_true", help="list only the layers that are not ok")


def run(args):
    """Do what the parsed ``args`` ask for and print the report; returns the exit code.

    Raises:
      CannotWork: there is no such trace, it is damaged, or a file cannot be written.
    """
    wanted = {f"--{name}": path for name in ("json", "html") if (path := getattr(args, name)) is not None}
    try:
        for option, path in wanted.items():
            files.check_writable(path, option)
    except files.Unwritable as error:
        raise CannotWork(str(error)) from error
    if len({os.path.realpath(path) for path in wanted.values()}) < len(wanted):
        raise CannotWork(f"`--json` and `--html` are both {args.json!r}; give two files.")
    _refuse_checkpoints(args.path)
    from . import auditreport, diagnosis, report, trace

    out = report.console()
    try:
        opened = _selected(trace.open(args.path), args.layer)
        with auditreport.progress(opened, sys.stderr) as advance:
            results = diagnosis.diagnose(opened, progress=advance)
        found = auditreport.result(results)
        page = None if args.html is None else _page(found, opened, args.path)
    except (trace.TraceError, ImportError) as error:
        raise CannotWork(str(error)) from error
    auditreport.audit(found, args.path, out, quiet=args.quiet)
    # Last, so that a file that says ok was written by a command that ends with 0.
    try:
        if page is not None:
            files.write_file(args.html, page.encode(), "--html")
        if args.json is not None:
            files.write_file(args.json, files.to_json(found).encode(), "--json")
    except files.Unwritable as error:
        raise CannotWork(str(error)) from error
    return auditreport.exit_code(found)


def _page(found, opened, path):
    """The HTML page of the dict that the JSON holds, with curves for the layers that are plotted."""
    from . import htmlreport
    from .curves import curves

    ranked = sorted(found["layers"], key=lambda layer: layer["verdict"] == "ok")
    plotted = curves(opened, {layer["name"] for layer in ranked[: htmlreport.PLOTTED] if layer["steps"]})
    layers = [{**layer, "curves": plotted.get(layer["name"], {})} for layer in found["layers"]]
    return htmlreport.render({**found, "path": path, "layers": layers})


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
