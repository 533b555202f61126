"""The option ``--plots`` of ``tf1bn audit`` and ``tf1bn parity``: which layers have plots on the page of ``--html``."""

from ..errors import CommandError

DEFAULT = "not-ok"


def add_argument(parser):
    """Declare the option on an argparse parser."""
    parser.add_argument(
        "--plots",
        choices=(DEFAULT, "all", "none"),
        help="which layers have plots on the page of --html: those that are not ok (the default), all, or none",
    )


def wanted(args):
    """What `reports.html.render` takes as ``plots``.

    Raises:
      CommandError: the option is given and there is to be no page.
    """
    if args.plots is not None and args.html is None:
        raise CommandError(f"`--plots` is {args.plots!r}, which is for the page, and there is none; give --html FILE.")
    return args.plots or DEFAULT
