"""``tf1bn audit``: what a trace or a checkpoint shows about every batch-norm layer in it, and why."""

import fnmatch
import sys
import types

from .._util import strict_json
from .._util.command import check_outputs, write_outputs
from ..diagnosis import conclude
from ..errors import CommandError
from ..reports import terminal
from ..verdicts import exit_code

DESCRIPTION = """Judge the moving statistics of every batch-norm layer in a trace, step by step, and name the cause
where they are not what they should be; or those in a checkpoint, by their values alone.

examples:
  tf1bn audit run.trace
  tf1bn audit run.trace --json audit.json --html audit.html
  tf1bn audit run.trace --layer 'resnet/*' --quiet
  tf1bn audit model.ckpt-1000
  tf1bn audit model.keras

exit codes: 0 all well; 1 a finding; 2 something is undecidable or the command could not do its work; 130
interrupted"""


def add_arguments(parser):
    """Declare the options of ``tf1bn audit`` on an argparse parser."""
    parser.add_argument(
        "path",
        metavar="PATH",
        help="the folder of a trace; or a checkpoint: a prefix or folder of TF1, .npz, .keras, .h5, .safetensors, .pt",
    )
    parser.add_argument("--json", metavar="FILE", help="write the verdicts and causes as JSON")
    parser.add_argument("--html", metavar="FILE", help="write a page with causes and plots, to be read in a browser")
    parser.add_argument("--layer", metavar="PATTERN", help="judge only the layers with such names, as in 'block1/*'")
    parser.add_argument("--quiet", action="store_true", help="list only the layers that are not ok")


def run(args):
    """Do what the parsed ``args`` ask for and print the report; returns the exit code.

    Raises:
      CommandError: there is no such trace or checkpoint, it is damaged, or a file cannot be written.
    """
    check_outputs({"--json": args.json, "--html": args.html}, {"PATH": args.path})
    from ..reports import audit as auditreport

    out = terminal.console()
    page = None
    if args.html is None:
        found = _judge(args)
    else:
        found, page = _judged_page(args)
    auditreport.print_audit(found, args.path, out, quiet=args.quiet)
    write_reports(args, found, page)
    return exit_code(found["ok"], [layer["verdict"] for layer in found["layers"]])


def write_reports(args, found, page):
    """Write what `--html` and `--json` ask for: the text ``page``, and the dict ``found``."""
    contents = {}
    if page is not None:
        contents["--html"] = args.html, page.encode()
    # Last, so that a file that says ok was written by a command that ends with 0.
    if args.json is not None:
        contents["--json"] = args.json, strict_json.to_json(found).encode()
    write_outputs(contents)


def _judge(args, curves=None):
    """The dict that the JSON holds; ``curves`` keeps what a trace shows of each step."""
    from .. import trace
    from ..checkpoints import audit as checkpoints
    from ..diagnosis import engine as diagnosis

    try:
        if checkpoints.looks_like_one(args.path):
            return _only(checkpoints.audit_checkpoint(args.path), args.layer)
        opened = trace.open(args.path)
        if args.layer is not None:
            opened = Selection(opened, _matching(opened.layers, args.layer))
        with terminal.progress("judging steps", opened.count_steps(), sys.stderr) as advance:
            return conclude.audit_result(diagnosis.diagnose(opened, progress=advance, curves=curves))
    except (trace.TraceError, checkpoints.CheckpointError) as error:
        raise CommandError(str(error)) from error


def _only(found, pattern):
    """The dict of an audit with those layers alone whose names match."""
    if pattern is None:
        return found
    kept = _matching({layer["name"]: layer for layer in found["layers"]}, pattern)
    ok = not found["problems"] and all(layer["verdict"] == "ok" for layer in kept.values())
    return {**found, "layers": list(kept.values()), "ok": ok}


def _matching(layers, pattern):
    """Those of the ``layers`` by name whose names match."""
    kept = {name: layer for name, layer in layers.items() if fnmatch.fnmatchcase(name, pattern)}
    if not kept:
        raise CommandError(f"`--layer` is {pattern!r}, which matches none of the {len(layers)} layers.")
    return kept


def _judged_page(args):
    """The dict that the JSON holds, and the HTML page of it."""
    from ..errors import NotRecordedError
    from ..reports import html as htmlreport
    from ..reports.curves import Curves

    try:
        with Curves() as curves:
            found = _judge(args, curves)
            layers = [{**layer, "curves": curves.of(layer["name"])} for layer in found["layers"]]
        return found, htmlreport.render({**found, "path": args.path, "layers": layers})
    except (NotRecordedError, ImportError) as error:
        raise CommandError(str(error)) from error


class Selection:
    """A trace of which only some layers are looked at."""

    def __init__(self, opened, layers):
        self._opened = opened
        self.layers = types.MappingProxyType(layers)

    def __iter__(self):
        return iter(self._opened)

    def count_steps(self):
        return self._opened.count_steps()
