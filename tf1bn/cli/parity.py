"""``tf1bn parity``: whether a port does what the original did, layer by layer, and why not."""

import fnmatch
import os
import sys

from .. import errors
from .._util.command import check_outputs
from .._util.files import CHECKPOINT
from ..errors import CommandError
from ..reports import terminal
from ..verdicts import exit_code
from . import audit

DESCRIPTION = """Compare two recorded runs, or two checkpoints, of an original and of its port, in inference and in
training, layer by layer. Names the first layer that diverges, and the cause.

examples:
  tf1bn parity old.trace new.trace
  tf1bn parity old.trace new.trace --map names.json
  tf1bn parity old.trace new.trace --json parity.json --html parity.html
  tf1bn parity model.ckpt-1000 ported.npz
  tf1bn parity parity.json

names.json holds {"OLD": "NEW", ...}; names may be patterns, as in {"block*/bn*": "stage*.norm*"}, and null says that a
layer has no counterpart. Without it layers are matched by name, and the rest by a guess that the report shows.

exit codes: 0 the port does what the original did; 1 a finding; 2 something is undecidable or was not compared, or the
command could not do its work; 130 interrupted"""

BYTES = 2**28  # of a result's JSON


def add_arguments(parser):
    """Declare the options of ``tf1bn parity`` on an argparse parser."""
    parser.add_argument(
        "old", metavar="OLD", help="trace or checkpoint of the original; or, alone, a file that --json wrote"
    )
    parser.add_argument("new", metavar="NEW", nargs="?", help="the same of the port")
    parser.add_argument("--map", metavar="FILE", help="which layer of OLD is which of NEW, as JSON")
    parser.add_argument("--json", metavar="FILE", help="write verdicts, causes, errors and bounds as JSON")
    parser.add_argument("--html", metavar="FILE", help="write a page with causes and plots, to be read in a browser")
    parser.add_argument(
        "--layer", metavar="PATTERN", help="compare only OLD's layers with such names, as in 'block1/*'"
    )
    parser.add_argument(
        "--only",
        choices=("training", "inference"),
        help="be content with one of the two where the runs do not show both (traces only)",
    )
    parser.add_argument("--quiet", action="store_true", help="list only the layers that are not ok")


def run(args):
    """Do what the parsed ``args`` ask for and print the report; returns the exit code.

    Raises:
      CommandError: something is missing, damaged or no trace or checkpoint, or a file cannot be written.
    """
    check_outputs({"--json": args.json, "--html": args.html}, {"OLD": args.old, "NEW": args.new, "--map": args.map})
    from ..reports import parity as parityreport

    page = None
    if args.html is None:
        found = _found(args)
    else:
        found, page = _found_page(args)
    parityreport.print_comparison(found, terminal.console(), quiet=args.quiet)
    audit.write_reports(args, found, page)
    return exit_code(found["ok"], [layer["verdict"] for layer in found["layers"]])


def _found_page(args):
    """The result, and the HTML page of it."""
    from ..errors import NotRecordedError
    from ..reports import parity_page
    from ..reports.curves import Curves

    try:
        with Curves() as curves:
            found = _found(args, curves)
            shown = {name: curves.of(name) for layer in found["layers"] if (name := layer.get("new")) is not None}
        return found, parity_page.render_comparison(found, shown)
    except (NotRecordedError, ImportError) as error:
        raise CommandError(str(error)) from error


def _found(args, curves=None):
    """The result; ``curves`` keeps what NEW's trace shows of each step."""
    from .. import trace
    from ..checkpoints import audit as checkpoints
    from ..parity import matching
    from ..parity.checkpoints import compare as checkpointparity

    if args.new is None:
        if args.map is not None:
            raise CommandError("`--map` is for comparing OLD with NEW, and NEW is missing.")
        if args.only is not None:
            raise CommandError("`--only` is for comparing OLD with NEW, and NEW is missing.")
        return _selected(_stored(args.old), args.layer)
    try:
        mapping = None if args.map is None else matching.read_map(args.map)
        kinds = [_kinds(path, name) for path, name in ((args.old, "OLD"), (args.new, "NEW"))]
        common = [kind for kind in kinds[0] if kind in kinds[1]]
        if not common:
            raise CommandError(
                f"OLD is a {kinds[0][0]} and NEW is a {kinds[1][0]}; compare two traces or two checkpoints: a "
                "checkpoint does not say what a layer does."
            )
        if common[1:]:
            raise CommandError(
                f"OLD and NEW are folders with a trace and a checkpoint in each, {args.old!r} and {args.new!r}; name "
                "the checkpoint's prefix to compare checkpoints, or move the traces to compare those."
            )
        if common[0] == "checkpoint":
            if args.only is not None:
                raise CommandError(f"`--only` is {args.only!r}, which is for traces; OLD and NEW are checkpoints.")
            return _selected(checkpointparity.compare_checkpoints(args.old, args.new, mapping), args.layer)
        return _traces(args, mapping, curves)
    except (trace.TraceError, errors.MappingError, checkpoints.CheckpointError) as error:
        raise CommandError(str(error)) from error


def _traces(args, mapping, curves):
    from .. import trace
    from ..parity.traces import compare as parity

    old, new = trace.open(args.old), trace.open(args.new)
    layers = None
    if args.layer is not None:
        if not any(fnmatch.fnmatchcase(name, args.layer) for name in old.layers):
            raise CommandError(f"`--layer` is {args.layer!r}, which matches none of OLD's {len(old.layers)} layers.")
        layers = lambda name: fnmatch.fnmatchcase(name, args.layer)  # noqa: E731
    # Each side once or twice, and then both together.
    with terminal.progress("comparing steps", 2 * old.count_steps() + new.count_steps(), sys.stderr) as advance:
        return parity.compare_traces(old, new, mapping, layers=layers, only=args.only, progress=advance, curves=curves)


def _kinds(path, name):
    """What a path holds: "trace", "checkpoint", or both."""
    if os.path.isdir(path):
        markers = {"trace": "trace.json", "checkpoint": "checkpoint"}
        if kinds := [kind for kind, file in markers.items() if os.path.lexists(os.path.join(path, file))]:
            return kinds
        raise CommandError(
            f"{name} is {path!r}, a folder without a trace.json or checkpoint; give a trace or checkpoint."
        )
    if any(os.path.exists(path + ending) for ending in CHECKPOINT):
        return ["checkpoint"]
    raise CommandError(f"{name} is {path!r}, which does not exist; give the folder of a trace, or a checkpoint.")


def _stored(path):
    """The result that a file holds, judged again."""
    from .._util.strict_json import parse
    from ..parity.traces import compare as parity

    if os.path.isdir(path):
        raise CommandError("NEW is missing; give two traces or checkpoints, or one file that --json wrote.")
    try:
        with open(path, "rb") as file:
            data = file.read(BYTES + 1)
    except OSError as error:
        raise CommandError(f"OLD is {path!r}, which cannot be read: {error.strerror or error}.") from error
    if len(data) > BYTES:
        raise CommandError(f"OLD is {path!r}, which is larger than {BYTES} bytes; it is no result of a comparison.")
    try:
        return parity.rejudge(parity.checked(parse(data)))
    except ValueError as error:
        raise CommandError(
            f"OLD is {path!r} and NEW is missing; alone it must be a file that --json wrote, and {error}"
        ) from error


def _selected(found, pattern):
    """The result with those layers alone whose names match."""
    from ..parity.traces import compare as parity

    if pattern is None:
        return found
    kept = [layer for layer in found["layers"] if fnmatch.fnmatchcase(layer.get("old") or layer["name"], pattern)]
    if not kept:
        raise CommandError(f"`--layer` is {pattern!r}, which matches none of the {len(found['layers'])} layers.")
    return parity.rejudge({**found, "layers": kept})
