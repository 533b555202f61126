"""One statistic of one channel over the steps, observed against expected, as SVG to be put into an HTML page.

The picture has no colours of its own: it uses the page's CSS variables --ink, --faint, --observed, --expected and
--bad, and so follows the page in light, dark and print.
"""

import io
import math
import re

import numpy as np

from .curve_data import DRAWABLE, drawable
from .packages import import_for

# The colours that matplotlib draws with, each replaced by the variable afterwards.
COLOURS = {
    "#010101": "var(--ink)",
    "#020202": "var(--faint)",
    "#030303": "var(--observed)",
    "#040404": "var(--expected)",
    "#050505": "var(--bad)",
}
INK, FAINT, OBSERVED, EXPECTED, BAD = COLOURS

VISIBLE = 0.02  # a bound of less than this share of the values' range is a band too narrow to be seen
MARKED = 40  # up to this many points each has a marker
SETTINGS = {
    # The same numbers give the same bytes.
    "svg.hashsalt": "tf1bn",
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": False,
}


def draw(curve, prefix):
    """A `curve_data.Curve` as an SVG element without width or height, a string.

    All ids in it start with ``prefix``.

    Raises:
      ImportError: matplotlib is missing; the message says how to install it.
    """
    matplotlib = import_for("A plot of the HTML report", "matplotlib")
    figure_class = import_for("A plot of the HTML report", "matplotlib.figure").Figure
    buffer = io.StringIO()
    with matplotlib.rc_context():
        # The user's own matplotlibrc changes nothing here.
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        figure = _figure(figure_class, curve)
        no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)
    return _inline(buffer.getvalue(), prefix)


def _figure(figure_class, curve):
    """A figure with the values above and, where the bound is too narrow to be seen there, the shares of it below."""
    points = curve.points()
    step, observed, expected, bound = (
        values[points] for values in (curve.step, curve.observed, curve.expected, curve.bound)
    )
    observed, expected = (np.where(drawable(values), values, np.nan) for values in (observed, expected))
    bound = np.where(drawable(bound), bound, np.nan)
    both = np.concatenate([observed, expected])
    low, high = np.nanmin(both), np.nanmax(both)
    two_panels = bool(np.isfinite(bound).any() and np.nanmax(bound) < VISIBLE * (high - low))
    figure = figure_class(figsize=(4.7, 4.1 if two_panels else 2.9), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2)) if two_panels else (figure.subplots(), None)

    marked = len(points) <= MARKED
    if not two_panels:
        _draw_band(axes, step, expected, bound)
    axes.plot(step, expected, color=EXPECTED, linewidth=3.2, alpha=0.75, label="expected", **_marker(marked, "s", 5))
    axes.plot(step, observed, color=OBSERVED, linewidth=1.4, label="observed", **_marker(marked, "o", 3))
    not_drawable = curve.not_drawable[points]
    if not_drawable.any():
        _draw_at_edge(axes, step[not_drawable], 0.03, "x", "not finite")
    if not high - low > 1e-12 * max(abs(low), abs(high)) and np.isnan(bound).all():
        # For equal values matplotlib would label the axis with digits that float64 does not have.
        reach = max(abs(low), abs(high)) * 0.05 or 1
        axes.set_ylim(low - reach, high + reach)
    axes.grid(color=FAINT, alpha=0.25, linewidth=0.6)
    if two_panels:
        _draw_shares(below, step, curve.share[points], marked)
    _label_steps(below or axes, step)
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside upper left", ncols=4, frameon=False, columnspacing=1.2
    )
    return figure


def _draw_band(axes, step, expected, bound):
    """The allowed values as a band around the expected ones."""
    band = np.isfinite(bound) & np.isfinite(expected)
    if not band.any():
        return
    low, high = (np.where(band, values, np.nan) for values in (expected - bound, expected + bound))
    axes.fill_between(step, low, high, color=EXPECTED, alpha=0.25, linewidth=0, label="allowed")
    if band.sum() == 1:
        # A band at a single step has no width.
        axes.errorbar(step[band], expected[band], bound[band], color=EXPECTED, alpha=0.4, linewidth=4)


def _draw_shares(axes, step, share, marked):
    """The error divided by the bound."""
    finite = np.isfinite(share) & (share < DRAWABLE)
    largest = share[finite].max(initial=1)
    if largest > 20:
        # Linear up to the bound, so that 0 is on the axis; with few enough ticks to be readable.
        axes.set_yscale("symlog", linthresh=1, linscale=0.7)
        decades = math.ceil(math.log10(largest))
        every = -(-decades // 3)
        ticks = [0, *(10.0**i for i in range(0, decades + 1, every))]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_yticks([], minor=True)
    axes.axhspan(0, 1, color=EXPECTED, alpha=0.25, linewidth=0)
    axes.plot(step, np.where(finite, share, np.nan), color=OBSERVED, linewidth=1.4, **_marker(marked, "o", 3))
    if np.isposinf(share).any():
        _draw_at_edge(axes, step[np.isposinf(share)], 0.97, "^", None)
    axes.set_ylim(0, largest**1.1 if largest > 20 else largest * 1.15)
    axes.set_ylabel("error / allowed")
    axes.grid(color=FAINT, alpha=0.25, linewidth=0.6)


def _draw_at_edge(axes, step, height, marker, label):
    """Markers at ``height`` (0 is the lower edge, 1 the upper one) for values that are not on the axis."""
    axes.plot(
        step,
        np.full(len(step), height),
        transform=axes.get_xaxis_transform(),
        color=BAD,
        marker=marker,
        markersize=5,
        linestyle="none",
        label=label,
    )


def _label_steps(axes, step):
    axes.set_xlabel("step")
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=6)
    if len(step) == 1:
        axes.set_xticks(step, [f"{step[0]:.0f}"])
        axes.set_xlim(step[0] - 1, step[0] + 1)


def _marker(marked, shape, size):
    return {"marker": shape, "markersize": size, "markeredgewidth": 0} if marked else {}


def _inline(svg, prefix):
    """matplotlib's SVG file as an element that can stand in an HTML page several times, with other ids each time."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", r'<svg aria-hidden="true" \1>', svg, count=1)
    used = set(re.findall(r"(?:#|url\(#)([\w-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
    svg = re.sub(r' id="', f' id="{prefix}', svg)
    svg = re.sub(r'xlink:href="#', f'href="#{prefix}', svg)
    svg = svg.replace("url(#", f"url(#{prefix}")
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    for colour, variable in COLOURS.items():
        svg = svg.replace(colour, variable)
    # matplotlib writes six decimals; less than a hundredth of a point cannot be seen.
    svg = re.sub(r"(\d+\.\d\d)\d+", r"\1", svg)
    return re.sub(r"\s*\n\s*", "\n", svg).strip()
