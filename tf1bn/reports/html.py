"""The result of an audit or of a comparison as one HTML page that needs nothing else: no network, no other file."""

from .._util import files
from .page import document

PLOTS = document.PLOTS


def write(result, path, title=None, *, option="--html", curves=None, plots="not-ok"):
    """Write the page of ``result`` to ``path``, whole or not at all; other arguments as for `render`.

    Raises:
      OutputError: the message names ``option``, the file and the reason.
      ImportError: jinja2 is missing; the message says how to install it.
    """
    files.write_file(path, render(result, title, curves=curves, plots=plots).encode("utf-8"), option)


def render(result, title=None, *, curves=None, plots="not-ok"):
    """The page of an audit or of a comparison, a string.

    Args:
      result: the dict of the JSON. "kind" says what it is about: "checkpoint", "graph", or of a comparison "traces" or
        "checkpoints"; without it, it is the audit of a trace. "path" is shown if it is there.
      title: the title of the page; None for one from the kind and the path.
      curves: the `curves.Curves` that kept the steps, from which plots are drawn; None for no plots, except of layers
        that have "curves": {"moving_mean" and "moving_variance": {"channel", "step", "observed", "expected",
        "expected_error", "worst_case"}}.
      plots: which layers have plots: "not-ok", "all" or "none".

    Raises:
      ImportError: jinja2 is missing; the message says how to install it.
    """
    return document.page(result, title, curves=curves, plots=plots)
