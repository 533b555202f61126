"""``tf1bn audit``: what a trace or a checkpoint shows about every batch-norm layer in it, and why."""

import os
import sys

from .._util.text import counted
from ..errors import CommandError, TraceError
from ..reports import terminal
from . import accept, graphs, report_files, stored_audit
from .inputs import add_scheduler, check_exists, layer_filter, read_at, spreading

DESCRIPTION = """Judge the moving statistics of every batch-norm layer in a trace, step by step, and name the cause
where they are not what they should be; or those in a checkpoint, by their values alone, and those of a graph, by its
structure.

examples:
  tf1bn audit run.trace
  tf1bn audit run.trace --json audit.json --html audit.html
  tf1bn audit run.trace --layer 'resnet/*' --quiet
  tf1bn audit model.ckpt-1000 --values
  tf1bn audit model.keras
  tf1bn audit run.trace --format github --strict-undecidable
  tf1bn audit audit.json
  tf1bn audit model.ckpt-1000.meta --train-op train/Adam
  tf1bn audit run.trace --scheduler processes
  tf1bn audit --ranks run.rank*.trace

exit codes: 0 all well; 1 a finding; 2 something is undecidable or the command could not do its work, which "status" in
the JSON tells apart (with --strict-undecidable 3 is the former); 130 interrupted"""


def add_arguments(parser):
    """Declare the options of ``tf1bn audit`` on an argparse parser."""
    parser.add_argument(
        "path",
        metavar="PATH",
        nargs="?",
        help="the folder of a trace; or a checkpoint: a prefix or folder of TF1, .npz, .keras, .h5, .safetensors, .pt; "
        "or a graph: .meta, .pb, .pbtxt, the folder of a SavedModel; or a file that --json wrote",
    )
    parser.add_argument(
        "--ranks",
        metavar="PATH",
        nargs="+",
        help="the folders of the traces that the processes of one training wrote, one each, in the place of PATH: "
        "their batches are judged together, and ranks with other statistics are named",
    )
    parser.add_argument("--layer", metavar="PATTERN", help="judge only the layers with such names, as in 'block1/*'")
    parser.add_argument(
        "--values",
        action="store_true",
        help="show the number of channels and the range of statistics, gamma and beta of each layer (checkpoints only)",
    )
    add_scheduler(parser)
    report_files.add_arguments(parser)
    graphs.add_arguments(parser)
    accept.add_arguments(parser)


def run(args):
    """Do what the parsed ``args`` ask for and print the report; returns the exit code.

    Raises:
      Tf1bnError: there is no such trace or checkpoint, it is damaged, or a file cannot be written.
    """
    if (args.path is None) is (args.ranks is None):
        raise CommandError("Give either PATH, what is to be judged, or --ranks with the traces of all ranks.")
    inputs = {"PATH": read_at(args.path), "--ranks": args.ranks or []}
    # What the report calls the traces of all ranks.
    path = args.path if args.ranks is None else f"{os.path.commonprefix(args.ranks)}*"  # noqa: RUF071 (a pattern)
    output = report_files.Output("tf1bn audit", args, inputs, path, stored_audit.FORMAT)
    from ..reports import audit as report

    known = accept.Known(args.accept, args.baseline)
    out = terminal.console()

    def print_text(result):
        shown = {"quiet": args.quiet, "values": args.values, "in_full": args.layer is not None}
        report.print_audit(result, path, out, **shown)

    return output.report(
        lambda curves: known.apply(_with_path(_audit(args, curves), path), accept.rejudge_audit),
        lambda result, curves: _page(path, result, curves, output.plots),
        print_text,
    )


def _audit(args, curves):
    """The dict that the JSON holds; ``curves`` keeps what a trace shows of each step, or is None."""
    from .. import checkpoints
    from ..checkpoints.opening import looks_like_checkpoint

    if args.ranks is not None:
        return _audit_ranks(args, curves)
    is_result, kind = stored_audit.looks_like_result(args.path), graphs.kind_of(args.path)
    if args.scheduler is not None and (is_result or kind or looks_like_checkpoint(args.path)):
        raise CommandError(f"`--scheduler` is for traces, and PATH is {args.path!r}, which is none.")
    if is_result:
        result = stored_audit.read(args.path)
        if args.values and result.get("kind") != "checkpoint":
            raise CommandError(f"`--values` is for checkpoints, and PATH is {args.path!r}, the result of a trace.")
        return _only(result, args.layer)
    if kind:
        return _only(graphs.audit(args.path, kind, args.train_op), args.layer)
    if args.train_op is not None:
        raise CommandError(f"`--train-op` is for graphs, and PATH is {args.path!r}, which is none.")
    if looks_like_checkpoint(args.path):
        with terminal.working("reading and judging the checkpoint", sys.stderr):
            return _only(checkpoints.audit_checkpoint(args.path), args.layer)
    return _audit_trace(args, curves)


def _audit_trace(args, curves):
    from .. import trace
    from ..diagnosis import conclude, diagnose
    from ..trace.views import TraceView

    check_exists(args.path)
    opened = trace.open(args.path)
    if args.values:
        raise CommandError(f"`--values` is for checkpoints, and PATH is the trace {args.path!r}.")
    if args.layer is not None:
        opened = TraceView(opened, layers=filter(layer_filter(args.layer, opened.layers), opened.layers))
    with spreading(args, curves) as spread:
        if spread is not None:
            with terminal.working(f"judging steps in {counted(spread.count, 'worker')}", sys.stderr):
                return conclude.audit_result(diagnose(opened, spread=spread))
    with terminal.progress("judging steps", opened.count_steps(), sys.stderr) as advance:
        return conclude.audit_result(diagnose(opened, progress=advance, curves=curves))


def _audit_ranks(args, curves):
    from ..ranks.audit import audit_ranks

    for option, value in (("--values", args.values or None), ("--train-op", args.train_op)):
        if value is not None:
            raise CommandError(f"`{option}` is not for traces, which `--ranks` names.")

    def wanted(names):
        return list(names) if args.layer is None else list(filter(layer_filter(args.layer, names), names))

    with spreading(args, curves) as spread:
        with terminal.working(f"judging the steps of {counted(len(args.ranks), 'rank')}", sys.stderr):
            try:
                return audit_ranks(args.ranks, layers=wanted, spread=spread)
            except TraceError:
                raise
            except ValueError as error:
                raise CommandError(f"`--ranks`: {error}") from error


def _with_path(result, path):
    """The result with the path of what was judged, which a stored one has already."""
    return result if "path" in result else {**result, "path": path}


def _only(result, pattern):
    """The audit restricted to the layers whose names match; all if ``pattern`` is None."""
    if pattern is None:
        return result
    matches = layer_filter(pattern, [layer["name"] for layer in result["layers"]])
    layers = [layer for layer in result["layers"] if matches(layer["name"])]
    return accept.rejudge_audit({**result, "layers": layers})


def _page(path, result, curves, plots):
    """The HTML page of a result."""
    from ..reports import html

    return html.render({**result, "path": path}, curves=curves, plots=plots)
