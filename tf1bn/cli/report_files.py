"""What ``tf1bn audit`` and ``tf1bn parity`` write beside the terminal: the JSON of a result, and its HTML page."""

from .._util import strict_json
from .._util.command import write_outputs
from .accept import baseline_of


def with_page(compute, render, wanted):
    """A result, and the text of its HTML page, or None if the page is not wanted.

    Args:
      compute: called with a `reports.curves.Curves` that is to keep what the page plots, or None; returns the result.
      render: called with the result and the `Curves`; returns the page.
      wanted: whether there is to be a page.

    Raises:
      NotRecordedError: there is no room for what the page plots.
      ImportError: a package that draws it is missing.
    """
    if not wanted:
        return compute(None), None
    from ..reports.curves import Curves

    with Curves() as curves:
        result = compute(curves)
        return result, render(result, curves)


def write_reports(args, result, page):
    """Write the files that `--html`, `--write-baseline` and `--json` of the parsed ``args`` name.

    Args:
      args: the parsed arguments.
      result: dict, written as JSON.
      page: the text of the HTML page, or None.
    """
    contents = {}
    if page is not None:
        contents["--html"] = args.html, page.encode()
    if args.write_baseline is not None:
        contents["--write-baseline"] = args.write_baseline, baseline_of(result)
    # Last, so that a file that says ok was written by a command that ends with 0.
    if args.json is not None:
        contents["--json"] = args.json, strict_json.to_json(result).encode()
    write_outputs(contents)
