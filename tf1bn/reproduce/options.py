"""The options of ``tf1bn reproduce``: the values that they accept, and the runs that they ask for."""

import argparse
import contextlib
import dataclasses
import math

from .. import releases
from ..errors import CommandError
from ..verdicts import STRICT

DECAYS = (0.0, 0.5, 0.9, 0.99, 0.999, 1.0)
STEPS = 5000
MAX_STEPS = 1_000_000
# The release whose default layer gives what the article printed: before 1.4 it stored the population variance.
ARTICLE_RELEASE = "1.3"
FORMAT = "tf1bn-reproduce"  # of its JSON

DESCRIPTION = """Repeat a 2017 article's experiment on batch_norm's decay, on the article's own numbers, and check
every number against an independent recomputation.

examples:
  tf1bn reproduce
  tf1bn reproduce --plot sweep.png --json reproduce.json
  tf1bn reproduce --input random --shape 8,4,4,3 --decay 0.9 --release 1.15
  tf1bn reproduce --print-variables --device cpu
  tf1bn reproduce --device gpu --json gpu.json

exit codes: 0 everything agrees; 1 a finding; 2 something is undecidable or the command could not do its work; 130
interrupted"""


def add_arguments(parser):
    """Declare the options of ``tf1bn reproduce`` on an argparse parser."""
    _add_runs(parser)
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "gpu", "both"),
        default="auto",
        help="where the session runs (default auto); gpu implies --variants; both runs the variants on CPU and GPU and "
        "shows the differences, and the rest on the GPU",
    )
    parser.add_argument(
        "--variants",
        action="store_true",
        help="also run and check every variant of the layer: fused and composed, NHWC and NCHW, float32 and float16",
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="write everything measured, and the verdicts, as JSON; - for standard output, in the place of the report",
    )
    parser.add_argument("--plot", metavar="FILE", help="draw the sweep as a .png or .svg picture")
    parser.add_argument(
        "--print-variables",
        action="store_true",
        help="print the variables before and after each run, as the article did",
    )
    parser.add_argument(
        "--strict-undecidable",
        action="store_true",
        help=f"end with {STRICT} in the place of 2 where something is undecidable, so that 2 means an error",
    )
    parser.add_argument("--verbose", action="store_true", help="show TensorFlow's own log")


def _add_runs(parser):
    """The options that say what is run besides the article's own two runs."""
    decays = ", ".join(f"{decay:g}" for decay in DECAYS)
    parser.add_argument(
        "--decay",
        type=_decay,
        action="append",
        metavar="D",
        help=f"also run the listing with this decay, and sweep over the given decays instead of {decays}; "
        "may be repeated",
    )
    parser.add_argument(
        "--steps",
        type=_whole("steps", 1, MAX_STEPS),
        default=STEPS,
        metavar="N",
        help=f"training steps of the sweep (default {STEPS})",
    )
    parser.add_argument(
        "--input",
        choices=("article", "random"),
        help="input of the further runs: the article's, recovered (default), or uniform(0, 255)",
    )
    parser.add_argument(
        "--seed", type=_whole("seed", 0, 2**63 - 1), metavar="N", help="seed of --input random (default 0)"
    )
    parser.add_argument("--shape", type=_shape, metavar="N,H,W,C", help="shape of --input random (default 1,4,4,1)")
    parser.add_argument(
        "--fused",
        choices=("auto", "true", "false"),
        help="layer of the further runs: TensorFlow's fused kernel or the composed form (default: the release's)",
    )
    parser.add_argument(
        "--release",
        type=_release,
        metavar="R",
        help="TensorFlow release whose layer and defaults the further runs use (1.0 to 1.15)",
    )


def decay_text(decay):
    """A decay as text: short, but with all digits where they are needed, since .9999999999999999 is not 1."""
    return f"{decay:g}" if float(f"{decay:g}") == decay else repr(decay)


def _decay(text):
    with contextlib.suppress(ValueError):
        value = float(text)
        if 0 <= value <= 1:
            return value
    raise argparse.ArgumentTypeError(
        f"`decay` is {text!r}; it must be a number from 0 to 1, the weight that the old statistics keep"
    )


def _whole(name, low, high):
    def parse(text):
        with contextlib.suppress(ValueError):
            value = int(text)
            if low <= value <= high:
                return value
        raise argparse.ArgumentTypeError(f"`{name}` is {text!r}; it must be a whole number from {low} to {high}")

    return parse


def _shape(text):
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not 2 <= len(shape) <= 8:
        raise argparse.ArgumentTypeError(
            f"`shape` is {text!r}; it must be two to eight whole numbers with commas, channels last, such as 8,4,4,3"
        )
    if min(shape) < 1:
        raise argparse.ArgumentTypeError(
            f"`shape` is {text!r}; its numbers must be at least 1, for an empty batch or no channels have no statistics"
        )
    if math.prod(shape) > 2**28:
        raise argparse.ArgumentTypeError(
            f"`shape` is {text!r}, {math.prod(shape)} numbers; it must be at most {2**28} numbers, which is 1 GiB"
        )
    return shape


def _release(text):
    try:
        releases.get(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).rstrip(".")) from None
    return text


@dataclasses.dataclass(frozen=True)
class FurtherRun:
    """A run of the listing that the options ask for.

    Attributes:
      decay, fused, release: the arguments of the layer.
      input: "article" or "random".
      shape: that of the input, channels last.
      seed: that of a random input.
    """

    decay: float
    fused: bool
    release: str
    input: str
    shape: tuple
    seed: int


def further_runs(args):
    """The runs that the parsed ``args`` ask for besides the article's own two, a list of `FurtherRun`.

    Raises:
      CommandError: options exclude each other.
    """
    from . import article

    given = (args.decay, args.input, args.seed, args.shape, args.fused, args.release)
    if all(value is None for value in given):
        return []
    if args.input != "random" and (args.shape is not None or args.seed is not None):
        raise CommandError(
            "`--shape` and `--seed` describe a random input; add `--input random`, the article's input is fixed."
        )
    release = args.release or ARTICLE_RELEASE
    shape = args.shape or article.SHAPE
    fusible = len(shape) in (2, 4)
    if args.fused == "true" and not fusible:
        raise CommandError(
            f"`--fused` is true and `--shape` has rank {len(shape)}; the fused layer takes rank 2 and 4. Use another "
            "shape, or --fused auto, which then takes the composed layer as TensorFlow 1.x did."
        )
    fused = args.fused == "true" if args.fused in ("true", "false") else releases.get(release).fused_default
    runs = [
        FurtherRun(decay, fused and fusible, release, args.input or "article", shape, args.seed or 0)
        for decay in dict.fromkeys(args.decay or (0.0, 1.0))
    ]
    articles = [
        FurtherRun(printed.decay, False, ARTICLE_RELEASE, "article", article.SHAPE, 0)
        for printed in article.EXPERIMENTS
    ]
    return [run for run in runs if run not in articles]
