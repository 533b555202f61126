"""What ``tf1bn audit`` and ``tf1bn parity`` put out: a report in some format, and files with the JSON and the page."""

import contextlib
import sys

from .._util import strict_json
from .._util.command import STDOUT, check_outputs, failed_result, print_bytes, write_outputs
from ..errors import CommandError, OutputError
from ..reports import formats, terminal
from ..reports.formats.statements import Report
from ..verdicts import STRICT, with_status
from . import accept

DEFAULT_PLOTS = "not-ok"


def add_arguments(parser):
    """Declare the options of what is put out on an argparse parser."""
    parser.add_argument("--json", metavar="FILE", help="write all of the result as JSON; - for standard output")
    parser.add_argument("--html", metavar="FILE", help="write a page with causes and plots, to be read in a browser")
    parser.add_argument(
        "--plots",
        choices=(DEFAULT_PLOTS, "all", "none"),
        help="which layers have plots on the page of --html: those that are not ok (the default), all, or none",
    )
    parser.add_argument(
        "--format",
        choices=formats.NAMES,
        default="text",
        help="what is printed: text; json; github, annotations of GitHub Actions; junit, XML for CI servers; sarif, "
        "for code scanning",
    )
    parser.add_argument("--quiet", action="store_true", help="list only the layers that are not ok")
    parser.add_argument(
        "--strict-undecidable",
        action="store_true",
        help=f"end with {STRICT} in the place of 2 where something is undecidable, so that 2 means an error",
    )
    parser.add_argument("--verbose", action="store_true", help="show the traceback of an error that was not foreseen")


class Output:
    """What is put out in one run of a command.

    Args:
      command: its name in a report, "tf1bn audit".
      args: its parsed arguments, of `add_arguments` and `accept.add_arguments`.
      inputs: what `command.check_outputs` takes.
      path: what is judged, as it was given.
      format_name: the "format" of its JSON.

    Raises:
      CommandError: files or options exclude each other.
      OutputError: a file cannot be written.
    """

    def __init__(self, command, args, inputs, path, format_name):
        self._command, self._args, self._path, self._format_name = command, args, path, format_name
        inputs = {**inputs, "--baseline": [args.baseline] if args.baseline is not None else []}
        check_outputs({"--json": args.json, "--html": args.html, "--write-baseline": args.write_baseline}, inputs)
        if args.plots is not None and args.html is None:
            raise CommandError(
                f"`--plots` is {args.plots!r}, which is for the page, and there is none; give --html FILE."
            )
        if args.json == STDOUT and args.format not in ("text", "json"):
            raise CommandError(
                f"`--json` is - and `--format` is {args.format}, which both go to standard output; name a file."
            )

    @property
    def plots(self):
        """What `reports.html.render` takes as ``plots``."""
        return self._args.plots or DEFAULT_PLOTS

    def report(self, judge, render, print_text):
        """Judge, print the report and write the files; returns the exit code.

        Args:
          judge: called with a `reports.curves.Curves` that is to keep what a page plots, or None; returns the result.
          render: called with the result and the `Curves`; returns the page.
          print_text: called with the result; prints the report for people.

        Raises:
          Tf1bnError: what `judge` and `render` raise, after a result that says so was put out.
        """
        args = self._args
        try:
            result, page = _with_page(judge, render, args.html is not None)
        except Exception as error:
            self._fail(error)
            raise
        result = with_status(result)
        if args.strict_undecidable and result["status"] == "undecidable":
            result["exit_code"] = STRICT
        self._print(result, print_text)
        self._write(result, page)
        return result["exit_code"]

    def _fail(self, error):
        """Put out a result that says that there is none, where a machine is to read it."""
        result = {**failed_result(self._format_name, error), "layers": []}
        # What went wrong first is what is told.
        with contextlib.suppress(OutputError, OSError):
            self._print(result, None)
            if self._args.json not in (None, STDOUT):
                write_outputs({"--json": (self._args.json, strict_json.to_json(result).encode())})

    def _print(self, result, print_text):
        format = "json" if self._args.json == STDOUT else self._args.format
        # A stored result says what it was judged from.
        path = result.get("path") or result.get("new") or self._path
        if format != "text":
            print_bytes(formats.render(Report(self._command, path, result), format).encode())
        elif print_text is not None:
            print_text(result)

    def _write(self, result, page):
        contents, args = {}, self._args
        if page is not None:
            contents["--html"] = args.html, page.encode()
        if args.write_baseline is not None:
            contents["--write-baseline"] = args.write_baseline, accept.baseline_of(result)
        # Last, so that a file that says ok was written by a command that ends with 0.
        if args.json not in (None, STDOUT):
            contents["--json"] = args.json, strict_json.to_json(result).encode()
        write_outputs(contents)


def _with_page(judge, render, wanted):
    """A result, and the text of its HTML page, or None if the page is not wanted."""
    if not wanted:
        return judge(None), None
    from ..reports.curves import Curves

    with Curves() as curves:
        result = judge(curves)
        with terminal.working("drawing the page", sys.stderr):
            return result, render(result, curves)
