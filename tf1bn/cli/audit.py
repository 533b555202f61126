"""``tf1bn audit``: what a trace or a checkpoint shows about every batch-norm layer in it, and why."""

import fnmatch
import sys

from .._util.command import check_outputs
from ..errors import CommandError
from ..reports import terminal
from ..verdicts import OK, exit_code
from . import accept, graphs
from .files import read_at
from .outputs import with_page, write_reports

DESCRIPTION = """Judge the moving statistics of every batch-norm layer in a trace, step by step, and name the cause
where they are not what they should be; or those in a checkpoint, by their values alone, and those of a graph, by its
structure.

examples:
  tf1bn audit run.trace
  tf1bn audit run.trace --json audit.json --html audit.html
  tf1bn audit run.trace --layer 'resnet/*' --quiet
  tf1bn audit model.ckpt-1000 --values
  tf1bn audit model.keras
  tf1bn audit model.ckpt-1000.meta --train-op train/Adam

exit codes: 0 all well; 1 a finding; 2 something is undecidable or the command could not do its work; 130
interrupted"""


def add_arguments(parser):
    """Declare the options of ``tf1bn audit`` on an argparse parser."""
    parser.add_argument(
        "path",
        metavar="PATH",
        help="the folder of a trace; or a checkpoint: a prefix or folder of TF1, .npz, .keras, .h5, .safetensors, .pt; "
        "or a graph: .meta, .pb, .pbtxt, the folder of a SavedModel",
    )
    parser.add_argument("--json", metavar="FILE", help="write the verdicts and causes as JSON")
    parser.add_argument("--html", metavar="FILE", help="write a page with causes and plots, to be read in a browser")
    parser.add_argument("--layer", metavar="PATTERN", help="judge only the layers with such names, as in 'block1/*'")
    parser.add_argument(
        "--values",
        action="store_true",
        help="show the number of channels and the range of statistics, gamma and beta of each layer (checkpoints only)",
    )
    parser.add_argument("--quiet", action="store_true", help="list only the layers that are not ok")
    graphs.add_arguments(parser)
    accept.add_arguments(parser)


def run(args):
    """Do what the parsed ``args`` ask for and print the report; returns the exit code.

    Raises:
      Tf1bnError: there is no such trace or checkpoint, it is damaged, or a file cannot be written.
    """
    inputs = {"PATH": read_at(args.path), "--baseline": [args.baseline] if args.baseline is not None else []}
    check_outputs({"--json": args.json, "--html": args.html, "--write-baseline": args.write_baseline}, inputs)
    from ..reports import audit as report

    known = accept.Known(args.accept, args.baseline)
    out = terminal.console()
    result, page = with_page(
        lambda curves: known.apply(_audit(args, curves), accept.rejudge_audit),
        lambda result, curves: _page(args, result, curves),
        args.html is not None,
    )
    report.print_audit(result, args.path, out, quiet=args.quiet, values=args.values)
    write_reports(args, result, page)
    return exit_code(result["ok"], [layer["verdict"] for layer in result["layers"]])


def _audit(args, curves):
    """The dict that the JSON holds; ``curves`` keeps what a trace shows of each step, or is None."""
    from .. import checkpoints, trace
    from ..checkpoints.opening import looks_like_checkpoint
    from ..diagnosis import conclude, diagnose
    from ..trace.views import TraceView

    if kind := graphs.kind_of(args.path):
        return _only(graphs.audit(args.path, kind, args.train_op), args.layer)
    if args.train_op is not None:
        raise CommandError(f"`--train-op` is for graphs, and PATH is {args.path!r}, which is none.")
    if looks_like_checkpoint(args.path):
        return _only(checkpoints.audit_checkpoint(args.path), args.layer)
    opened = trace.open(args.path)
    if args.values:
        raise CommandError(f"`--values` is for checkpoints, and PATH is the trace {args.path!r}.")
    if args.layer is not None:
        opened = TraceView(opened, layers=_matching(opened.layers, args.layer))
    with terminal.progress("judging steps", opened.count_steps(), sys.stderr) as advance:
        return conclude.audit_result(diagnose(opened, progress=advance, curves=curves))


def _only(result, pattern):
    """The audit restricted to the layers whose names match; all if ``pattern`` is None."""
    if pattern is None:
        return result
    layers = list(_matching({layer["name"]: layer for layer in result["layers"]}, pattern).values())
    ok = not result["problems"] and all(layer["verdict"] == OK for layer in layers)
    return {**result, "layers": layers, "ok": ok}


def _matching(layers, pattern):
    """Those of the ``layers`` by name whose names match."""
    matching = {name: layer for name, layer in layers.items() if fnmatch.fnmatchcase(name, pattern)}
    if not matching:
        raise CommandError(f"`--layer` is {pattern!r}, which matches none of the {len(layers)} layers.")
    return matching


def _page(args, result, curves):
    """The HTML page of a result."""
    from ..reports import html

    layers = [{**layer, "curves": curves.of(layer["name"])} for layer in result["layers"]]
    return html.render({**result, "path": args.path, "layers": layers})
