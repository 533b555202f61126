"""``tf1bn recalibrate``: moving statistics computed anew from data, for a model in files."""

from .._util.command import check_outputs, write_outputs
from .._util.printable import printable, printable_lines
from .._util.tensorflow_import import import_tensorflow
from ..errors import CommandError

DESCRIPTION = """Compute the moving statistics of a model's batch-norm layers anew from data, as for a model whose
statistics do not fit by an audit: show how far off they are and how the outputs change, and with --output write a model
with the new ones. MODEL itself is never changed.

examples:
  tf1bn recalibrate model.ckpt-1000 --data images=train.npy --feed is_training=true
  tf1bn recalibrate model.ckpt-1000 --data images=train.npy --feed is_training=true --output new.ckpt-1000
  tf1bn recalibrate saved_model --data x=train.npz:images --order sequential --output new_model

exit codes: 0 done; 2 a layer was left out or the command could not do its work; 130 interrupted"""


def add_arguments(parser):
    """Declare the options of ``tf1bn recalibrate`` on an argparse parser."""
    parser.add_argument(
        "model", metavar="MODEL", help="prefix of a checkpoint beside which its .meta lies, or folder of a SavedModel"
    )
    parser.add_argument(
        "--data",
        metavar="NAME=FILE",
        action="append",
        required=True,
        help="what to feed to the placeholder NAME: FILE.npy, FILE.npz:ARRAY or FILE.tfrecord:FEATURE, with a row for "
        "each example; may be given again for further placeholders",
    )
    parser.add_argument(
        "--feed", metavar="NAME=VALUE", action="append", default=[], help="what to feed to the placeholder NAME always"
    )
    parser.add_argument("--batch-size", metavar="N", type=int, default=128, help="rows in a batch (128)")
    parser.add_argument(
        "--order",
        choices=("batch", "sequential"),
        default="batch",
        help="batch: in one pass, with the layers in training mode; sequential: level by level, in inference mode, so "
        "that each layer sees the new statistics before it (batch)",
    )
    parser.add_argument("--layer", metavar="PATTERN", help="recalibrate only layers with such names, as in 'block1/*'")
    parser.add_argument("--output", metavar="PATH", help="where to write the model with the new statistics")
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON")
    parser.add_argument("--verbose", action="store_true", help="show TensorFlow's log, and tracebacks")


def run(args):
    """Do what the parsed ``args`` ask for and print the report; returns the exit code.

    Raises:
      Tf1bnError: something is missing, or a file cannot be read or written.
    """
    if args.batch_size < 1:
        raise CommandError(f"`--batch-size` is {args.batch_size}; it must be 1 or more.")
    check_outputs({"--json": args.json})
    import_tensorflow(args.verbose, own_process=args.own_process)
    from ..recalibration import recalibrate
    from ..recalibration.files import OpError, StoredModel, fed_value, first_line, keep_log, read_rows

    keep_log(args.verbose)

    with StoredModel(args.model) as model:
        if args.output is not None:
            model.check_output(args.output)
        rows, always = {}, {}
        for name, file in (_pair("--data", text) for text in args.data):
            placeholder = _new_place("--data", model.placeholder(name), rows)
            rows[placeholder] = read_rows(file, placeholder)
        for name, value in (_pair("--feed", text) for text in args.feed):
            placeholder = _new_place("--feed", model.placeholder(name), [*rows, *always])
            always[placeholder] = fed_value(value, placeholder)
        batches = _Batches(rows, always, args.batch_size)
        try:
            report = recalibrate(
                model.session, batches, order=args.order, layers=args.layer, write=args.output is not None
            )
        except (ValueError, TypeError) as error:
            raise CommandError(str(error)) from error
        except OpError as error:
            raise CommandError(f"`MODEL` is {args.model!r}, which fails on the data: {first_line(error)}") from error
        if args.output is not None:
            model.save(args.output)
    print(printable_lines(str(report)))
    print(
        f"Written: {printable(args.output)}" if args.output is not None else "Nothing was written; --output writes it."
    )
    if args.json is not None:
        write_outputs({"--json": (args.json, report.to_json().encode())})
    return 2 if report.left_out and args.layer is None else 0


class _Batches:
    """Feed dicts of so many rows each; the last one may be smaller."""

    def __init__(self, rows, always, size):
        self._rows, self._always, self._size = rows, always, size
        counts = {placeholder.op.name: len(array) for placeholder, array in rows.items()}
        if len(set(counts.values())) > 1:
            texts = (f"{count} for {name!r}" for name, count in counts.items())
            raise CommandError(
                f"`--data` gives different numbers of rows: {', '.join(texts)}; each example needs one of each."
            )
        self._count = max(counts.values())

    def __iter__(self):
        for start in range(0, self._count, self._size):
            yield {
                **self._always,
                **{placeholder: array[start : start + self._size] for placeholder, array in self._rows.items()},
            }


def _new_place(option, placeholder, fed):
    """The placeholder, unless it is among those that are fed already."""
    if any(placeholder is other for other in fed):
        raise CommandError(f"`{option}` gives {placeholder.op.name!r} a value, and it has one; give each only one.")
    return placeholder


def _pair(option, text):
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise CommandError(f"`{option}` is {text!r}; it must be NAME={'FILE' if option == '--data' else 'VALUE'}.")
    return name, value
