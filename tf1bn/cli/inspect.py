"""``tf1bn inspect``: what a trace, a checkpoint or a graph holds; nothing is judged."""

import os
import sys

from .. import __version__
from .._util import strict_json
from .._util.command import STDOUT, check_outputs, write_outputs
from .._util.printable import printable_values
from .._util.text import counted, in_words, listed
from ..errors import CommandError
from ..reports import terminal
from ..reports.layers.name_lists import fold_name
from .inputs import check_exists, layer_filter, read_at

DESCRIPTION = """Show what a trace, a checkpoint or a graph holds: its layers, how many steps, what was recorded of
them, sizes and settings. Nothing is judged; `tf1bn audit` does that.

examples:
  tf1bn inspect run.trace
  tf1bn inspect model.ckpt-1000 --layer 'resnet/*'
  tf1bn inspect model.onnx --json -

exit codes: 0 shown; 2 the command could not do its work; 130 interrupted"""

FORMAT = "tf1bn-inspect"
SHOWN = 60  # layers that get a row unless they are asked for


def add_arguments(parser):
    """Declare the options of ``tf1bn inspect`` on an argparse parser."""
    parser.add_argument("path", metavar="PATH", help="what `tf1bn audit` takes: a trace, a checkpoint or a graph")
    parser.add_argument("--layer", metavar="PATTERN", help="show only the layers with such names, as in 'block1/*'")
    parser.add_argument("--json", metavar="FILE", help="write all of it as JSON; - for standard output")
    parser.add_argument("--verbose", action="store_true", help="show the traceback of an error that was not foreseen")


def run(args):
    """Print what is there; returns the exit code.

    Raises:
      Tf1bnError: there is no such trace or checkpoint, it is damaged, or a file cannot be written.
    """
    from ..checkpoints.opening import looks_like_checkpoint

    check_outputs({"--json": args.json}, {"PATH": read_at(args.path)})
    describe = describe_checkpoint if looks_like_checkpoint(args.path) else describe_trace
    report = {"format": FORMAT, "tf1bn": __version__, "path": args.path, **describe(args.path)}
    if args.layer is not None:
        matches = layer_filter(args.layer, [layer["name"] for layer in report["layers"]])
        report["layers"] = [layer for layer in report["layers"] if matches(layer["name"])]
    if args.json != STDOUT:
        _print(printable_values(report), terminal.console(), all_layers=args.layer is not None)
    if args.json is not None:
        write_outputs({"--json": (args.json, strict_json.to_json(report).encode())})
    return 0


def describe_trace(path):
    """What a trace holds, a dict for JSON."""
    from .. import trace
    from ..cluster.files import is_url

    if is_url(path):
        raise CommandError(
            f"PATH is {path!r}, a URL, and is to be on this machine; `tf1bn audit` reads traces at URLs."
        )
    check_exists(path)
    opened = trace.open(path)
    layers = {name: _TraceLayer(name, settings) for name, settings in opened.layers.items()}
    steps = training = left_out = 0
    with terminal.progress("reading steps", opened.count_steps(), sys.stderr) as advance:
        for step in opened:
            steps, training, left_out = steps + 1, training + step.training, left_out + step.left_out
            for name, record in step.layers.items():
                layers[name].add(record)
            if advance is not None:
                advance(step)
    about = {name: getattr(opened, name) for name in ("producer", "framework", "framework_version", "rank", "ranks")}
    about = {name: value for name, value in about.items() if value is not None}
    return {
        "kind": "trace",
        "bytes": _bytes_in(path),
        "about": about | ({"left_out": left_out} if left_out else {}),
        "steps": steps,
        "training_steps": training,
        "unfinished": _is_unfinished(path),
        "layers": [layer.as_dict() for layer in layers.values()],
        "notes": [],
    }


class _TraceLayer:
    """What the steps of a trace hold of one layer."""

    def __init__(self, name, layer):
        self._name, self._layer = name, layer
        self._steps = self._training = 0
        self._holds = {}
        self._channels = self._shape = self._dtype = None

    def add(self, record):
        """Take the layer's record of one more step; of the first its size."""
        if self._channels is None:
            self._channels = len(record.moving_mean_before)
        if self._shape is None and "inputs" in record.holds:
            inputs = record.inputs[0]
            self._shape, self._dtype = list(inputs.shape), record.inputs_dtype or str(inputs.dtype)
        self._steps += 1
        self._training += any(record.training)
        self._holds.update(dict.fromkeys(record.holds))

    def as_dict(self):
        """It as the JSON has it."""
        import dataclasses

        settings = dataclasses.asdict(self._layer)
        return {
            "name": self._name,
            "channels": self._channels,
            "steps": self._steps,
            "training_steps": self._training,
            "holds": list(self._holds),
            "shape": self._shape or [],
            "dtype": self._dtype,
            "settings": {name: value for name, value in settings.items() if value is not None},
        }


def describe_checkpoint(path):
    """What the variables of a checkpoint or a graph are, a dict for JSON."""
    from .. import checkpoints
    from ..checkpoints.grouping import group

    with terminal.working("reading the checkpoint", sys.stderr), checkpoints.open_checkpoint(path) as checkpoint:
        layers, notes = group(checkpoint.variables)
        described = [_checkpoint_layer(layer, checkpoint) for layer in layers]
        return {
            "kind": "checkpoint",
            "bytes": sum(os.path.getsize(file) for file in read_at(path) if os.path.isfile(file)),
            "about": {"format": _format_of(checkpoint.path)},
            "variables": len(checkpoint.variables),
            "layers": described,
            "notes": [*checkpoint.problems, *checkpoint.notes, *notes],
        }


def _format_of(path):
    """What kind of file a checkpoint is, in words."""
    from ..checkpoints.formats.base import head
    from ..checkpoints.formats.registry import format_at

    known = format_at(path, head(path)) if os.path.isfile(path) else None
    return "TensorFlow checkpoint" if known is None else known.name.partition(" ")[2]


def _checkpoint_layer(layer, checkpoint):
    variables = layer.parts | {name: name for name in layer.state}
    variables |= {f"{role} (average)": name for role, name in layer.shadows.items() if isinstance(name, str)}
    known = [checkpoint.variables[name] for name in layer.parts.values()]
    sizes = [variable.shape[0] for variable in known if len(variable.shape) == 1]
    return {
        "name": layer.name,
        "channels": sizes[0] if sizes else None,
        "dtype": ", ".join(dict.fromkeys(variable.dtype for variable in known)) or None,
        "holds": list(layer.parts) + [name.rpartition("/")[2] for name in layer.state],
        "variables": variables,
        "settings": dict(checkpoint.declared.get(layer.name, {})),
    }


def _bytes_in(folder):
    """What the files in a folder take, or None if they cannot be listed."""
    try:
        return sum(os.lstat(os.path.join(where, name)).st_size for where, _, names in os.walk(folder) for name in names)
    except OSError:
        return None


def _is_unfinished(path):
    """Whether the last line of a trace's steps.jsonl was not finished."""
    with open(os.path.join(path, "steps.jsonl"), "rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def _print(report, out, *, all_layers):
    from rich.text import Text

    def say(text):
        out.print(Text(text))

    layers = report["layers"]
    what = counted(len(layers), "batch-norm layer")
    if report["kind"] == "trace":
        training = report["training_steps"]
        steps = f"{counted(report['steps'], 'step')} ({training} training, {report['steps'] - training} inference)"
        what += f", {steps}"
    else:
        what += f" and {counted(report['variables'], 'variable')}"
    # Not wrapped, so that a path can be copied.
    out.print(Text(f"{report['path']}: a {report['kind']} of {what}{_size(report['bytes'])}."), soft_wrap=True)
    if report.get("unfinished"):
        say("The last step was not finished, and is left out.")
    for name, value in report["about"].items():
        say(f"{name.replace('_', ' ')}: {value}")
    common = _common([layer["settings"] for layer in layers])
    if common and len(layers) > 1:
        say(f"every layer: {_settings(common)}")
    else:
        common = {}
    shown = layers if all_layers else layers[:SHOWN]
    if shown:
        out.print()
        _print_layers(shown, common, out, is_trace=report["kind"] == "trace")
    if len(shown) < len(layers):
        say(f"and {len(layers) - len(shown)} more layers; `--layer '*'` shows all.")
    for note in report["notes"]:
        say(note)


def _print_layers(layers, common, out, *, is_trace):
    from rich.text import Text

    columns = ["channels", *(["steps", ("inputs", "left")] if is_trace else [("dtype", "left")])]
    table = terminal.column_table(("layer", "left"), *columns, ("holds and settings", "sentences"))
    for layer in layers:
        own = {name: value for name, value in layer["settings"].items() if name not in common}
        words = [", ".join(layer["holds"]) or "nothing", _settings(own)]
        name = "\n".join(fold_name(layer["name"], max(12, out.width * 2 // 7)))
        cells = [name, in_words(layer["channels"]) if layer["channels"] is not None else "-"]
        if is_trace:
            shape = "x".join(map(str, layer["shape"]))
            cells += [str(layer["steps"]), f"{shape} {layer['dtype']}" if shape else "-"]
        else:
            cells += [layer["dtype"] or "-"]
        table.add_row(*map(Text, [*cells, "; ".join(filter(None, words))]))
    out.print(table)


def _common(settings):
    """The settings that all layers share."""
    first = settings[0] if settings else {}
    return {name: value for name, value in first.items() if all(each.get(name, ()) == value for each in settings)}


def _settings(settings):
    texts = []
    for name, value in settings.items():
        if isinstance(value, bool):
            texts.append(f"{name} {'yes' if value else 'no'}")
        elif isinstance(value, (list, tuple)):
            texts.append(f"{name} {listed(value, 4)}")
        else:
            texts.append(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}")
    return ", ".join(texts)


def _size(size):
    if size is None:
        return ""
    power = min(3, max(0, len(str(size)) - 1) // 3)
    return f", {size / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB')[power]}"
