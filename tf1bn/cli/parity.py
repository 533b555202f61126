"""``tf1bn parity``: whether a port does what the original did, layer by layer, and why not."""

import os
import re
import sys

from .._util import strict_json
from .._util.files import why_unreachable
from .._util.text import counted
from ..errors import CommandError
from ..reports import terminal
from . import accept, graphs, report_files
from .inputs import add_scheduler, layer_filter, read_at, spreading

DESCRIPTION = """Compare two recorded runs, two checkpoints or two graphs, of an original and of its port, in inference
and in training, layer by layer. Names the first layer that diverges, and the cause.

examples:
  tf1bn parity old.trace new.trace
  tf1bn parity old.trace new.trace --map names.json
  tf1bn parity old.trace new.trace --json parity.json --html parity.html
  tf1bn parity model.ckpt-1000 ported.npz
  tf1bn parity model.ckpt-1000 folded.npz --epsilon .001
  tf1bn parity train.meta export.pb
  tf1bn parity parity.json

names.json holds {"OLD": "NEW", ...}; names may be patterns, as in {"block*/bn*": "stage*.norm*"}, and null says that a
layer has no counterpart. Without it layers are matched by name, and the rest by a guess that the report shows.

exit codes: 0 the port does what the original did; 1 a finding; 2 something is undecidable or was not compared, or the
command could not do its work, which "status" in the JSON tells apart (with --strict-undecidable 3 is the former); 130
interrupted"""

FORMAT = "tf1bn-parity"
BYTES = 2**28  # of a result's JSON


def add_arguments(parser):
    """Declare the options of ``tf1bn parity`` on an argparse parser."""
    parser.add_argument(
        "old", metavar="OLD", help="trace or checkpoint of the original; or, alone, a file that --json wrote"
    )
    parser.add_argument("new", metavar="NEW", nargs="?", help="the same of the port")
    parser.add_argument("--map", metavar="FILE", help="which layer of OLD is which of NEW, as JSON")
    parser.add_argument(
        "--layer", metavar="PATTERN", help="compare only OLD's layers with such names, as in 'block1/*'"
    )
    parser.add_argument(
        "--only",
        choices=("training", "inference"),
        help="be content with one of the two where the runs do not show both (traces only)",
    )
    parser.add_argument(
        "--ulp",
        metavar="N",
        type=int,
        help="allow so many units in the last place between numbers of two checkpoints; 0 if not given, because a "
        "conversion computes nothing",
    )
    parser.add_argument(
        "--epsilon",
        metavar="E",
        type=float,
        help="the epsilon of batch norms that a checkpoint has only folded into convolutions; solved for if not given",
    )
    add_scheduler(parser)
    report_files.add_arguments(parser)
    accept.add_arguments(parser)


def run(args):
    """Do what the parsed ``args`` ask for and print the report; returns the exit code.

    Raises:
      Tf1bnError: something is missing, damaged or no trace or checkpoint, or a file cannot be written.
    """
    inputs = {"OLD": read_at(args.old), "NEW": read_at(args.new), "--map": [args.map] if args.map is not None else []}
    output = report_files.Output("tf1bn parity", args, inputs, args.new or args.old, FORMAT)
    from ..parity.verdict import rejudge
    from ..reports import parity as report

    known = accept.Known(args.accept, args.baseline)
    out = terminal.console()
    return output.report(
        lambda curves: known.apply(_compare(args, curves), rejudge),
        lambda result, curves: _page(args, result, curves, output.plots),
        lambda result: report.print_comparison(result, out, quiet=args.quiet, in_full=args.layer is not None),
    )


def _page(args, result, curves, plots):
    """The HTML page of a result."""
    from ..reports import html

    return html.render(result, curves=curves, plots=plots)


def _compare(args, curves):
    """The result; ``curves`` keeps what NEW's trace shows of each step, or is None."""
    from ..parity.checkpoints import compare
    from ..parity.graphs import compare_graphs
    from ..parity.layer_map import read_map

    if args.new is None:
        for option, value in (*_of_checkpoints(args), ("--map", args.map), *_of_traces(args)):
            if value is not None:
                raise CommandError(f"`{option}` is for comparing OLD with NEW, and NEW is missing.")
        return _selected(_stored(args.old), args.layer)
    mapping = None if args.map is None else read_map(args.map)
    if graphs.are_compared(args.old, args.new):
        for option, value in (*_of_checkpoints(args), *_of_traces(args)):
            if value is not None:
                raise CommandError(f"`{option}` is {value!r}, which is not for graphs, as OLD and NEW are.")
        return _selected(compare_graphs(args.old, args.new, mapping), args.layer)
    if _kind(args) == "trace":
        for option, value in _of_checkpoints(args):
            if value is not None:
                raise CommandError(f"`{option}` is {value!r}, which is for checkpoints; OLD and NEW are traces.")
        return _compare_traces(args, mapping, curves)
    for option, value in _of_traces(args):
        if value is not None:
            raise CommandError(f"`{option}` is {value!r}, which is for traces; OLD and NEW are checkpoints.")
    try:
        with terminal.working("reading and comparing the checkpoints", sys.stderr):
            result = compare.compare_checkpoints(args.old, args.new, mapping, ulp=args.ulp or 0, epsilon=args.epsilon)
    except ValueError as error:
        # An argument is an option here.
        raise CommandError(re.sub("^`(ulp|epsilon)`", r"`--\1`", str(error))) from error
    return _selected(result, args.layer)


def _of_checkpoints(args):
    """The options that are for checkpoints alone, with their values."""
    return ("--ulp", args.ulp), ("--epsilon", args.epsilon)


def _of_traces(args):
    """The options that are for traces alone, with their values."""
    return ("--only", args.only), ("--scheduler", args.scheduler)


def _compare_traces(args, mapping, curves):
    from .. import trace
    from ..parity import compare_traces

    old, new = trace.open(args.old), trace.open(args.new)
    layers = None if args.layer is None else layer_filter(args.layer, old.layers, "OLD's")
    with spreading(args, curves) as spread:
        if spread is not None:
            with terminal.working(f"comparing in {counted(spread.count, 'worker')}", sys.stderr):
                return compare_traces(old, new, mapping, layers=layers, only=args.only, spread=spread)
    # Each run once or twice, and then both together.
    with terminal.progress("comparing steps", 2 * old.count_steps() + new.count_steps(), sys.stderr) as advance:
        return compare_traces(old, new, mapping, layers=layers, only=args.only, progress=advance, curves=curves)


def _kind(args):
    """What OLD and NEW both are: "trace" or "checkpoint"."""
    old, new = (_kinds(path, name) for path, name in ((args.old, "OLD"), (args.new, "NEW")))
    common = [kind for kind in old if kind in new]
    if not common:
        raise CommandError(
            f"OLD is a {old[0]} and NEW is a {new[0]}; compare two traces or two checkpoints: a checkpoint does not "
            "say what a layer does."
        )
    if common[1:]:
        raise CommandError(
            f"OLD and NEW are folders with a trace and a checkpoint in each, {args.old!r} and {args.new!r}; name the "
            "checkpoint's prefix to compare checkpoints, or move the traces to compare those."
        )
    return common[0]


def _kinds(path, name):
    """What a path holds: "trace", "checkpoint", or both."""
    from ..checkpoints.opening import FILE_SUFFIXES, looks_like_checkpoint
    from ..cluster.files import is_url

    if is_url(path):
        return ["trace"]
    if os.path.isdir(path):
        markers = {"trace": "trace.json", "checkpoint": "checkpoint"}
        if kinds := [kind for kind, file in markers.items() if os.path.lexists(os.path.join(path, file))]:
            return kinds
        if looks_like_checkpoint(path):
            return ["checkpoint"]
        raise CommandError(
            f"{name} is {path!r}, a folder without a trace.json or checkpoint; give a trace or checkpoint."
        )
    if any(os.path.exists(path + ending) for ending in FILE_SUFFIXES):
        return ["checkpoint"]
    if reason := why_unreachable(path):
        raise CommandError(f"{name} is {path!r}, which cannot be read: {reason}.")
    raise CommandError(f"{name} is {path!r}, which does not exist; give the folder of a trace, or a checkpoint.")


def _stored(path):
    """The result that a file holds, with its verdicts recomputed."""
    from ..parity.stored import checked
    from ..parity.verdict import rejudge

    if os.path.isdir(path):
        raise CommandError("NEW is missing; give two traces or checkpoints, or one file that --json wrote.")
    try:
        return rejudge(checked(strict_json.read(path, BYTES)))
    except OSError as error:
        raise CommandError(f"OLD is {path!r}, which cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise CommandError(
            f"OLD is {path!r} and NEW is missing; alone it must be a file that --json wrote, and {error}"
        ) from error


def _selected(result, pattern):
    """The result restricted to OLD's layers whose names match; all if ``pattern`` is None."""
    from ..parity.verdict import rejudge

    if pattern is None:
        return result
    named = [(layer.get("old") or layer["name"], layer) for layer in result["layers"]]
    matches = layer_filter(pattern, [name for name, _ in named])
    return rejudge({**result, "layers": [layer for name, layer in named if matches(name)]})
