"""The page of a comparison under its own name; `html.render` makes the pages of all results."""

from . import html


def render_comparison(result, curves=None):
    """The HTML page of a comparison, a string: what `html.render` gives."""
    return html.render(result, curves=curves or None)
