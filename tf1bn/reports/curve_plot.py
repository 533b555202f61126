"""One statistic of one channel over the steps, observed against expected, as SVG to be put into an HTML page.

The picture holds no colours of its own but the page's CSS variables, so that it follows light, dark and print:
--ink, --faint, --observed, --expected, --bad.
"""

import io
import math
import re

import numpy as np

from .._util.text import in_times, in_words
from ..errors import PlotUnavailableError

# What is drawn in these is drawn in the page's variables.
COLOURS = {
    "#010101": "var(--ink)",
    "#020202": "var(--faint)",
    "#030303": "var(--observed)",
    "#040404": "var(--expected)",
    "#050505": "var(--bad)",
}
INK, FAINT, OBSERVED, EXPECTED, BAD = COLOURS

POINTS = 600  # more steps than this are thinned out, extremes kept
DRAWABLE = 1e100  # matplotlib overflows when it lays out axes far beyond
VISIBLE = 0.02  # a bound that is less than this share of the values' range is a band that nobody sees
MARKED = 40  # up to this many points each has a marker


class Curve:
    """The numbers of one curve, checked.

    Raises:
      PlotUnavailableError: a series is missing, of another length, or has nothing that could be drawn.
    """

    def __init__(self, given):
        if not isinstance(given, dict):
            raise PlotUnavailableError("No steps were kept.")
        observed, expected = (_floats(given.get(key), key) for key in ("observed", "expected"))
        self.count = len(observed)
        if not self.count:
            raise PlotUnavailableError("No steps were kept.")
        bound, step = given.get("bound"), given.get("step")
        self.bound = np.full(self.count, np.nan) if bound is None else _floats(bound, "bound")
        self.step = np.arange(float(self.count)) if step is None else _floats(step, "step")
        self.observed, self.expected = observed, expected
        if {len(values) for values in (observed, expected, self.bound, self.step)} != {self.count}:
            raise PlotUnavailableError("The curve is damaged: its series have different lengths.")
        if not (np.isfinite(self.step) & (np.abs(self.step) < DRAWABLE)).all():
            raise PlotUnavailableError("The curve is damaged: a step has no number.")
        if not (_drawable(observed).any() or _drawable(expected).any()):
            raise PlotUnavailableError(
                f"There is nothing to draw: no value of the {_steps(self.count)} is a finite number."
            )
        with np.errstate(all="ignore"):
            self.error = np.abs(observed - expected)
            self.share = np.where(self.error == 0, 0, self.error / self.bound)

    @property
    def strays(self):
        """Which steps hold an observed value that cannot be drawn."""
        return ~_drawable(self.observed)

    def summary(self):
        """What the picture shows, in words: for those who do not see it, and below it."""
        said = [
            f"{_steps(self.count)}; at the end {in_words(self.observed[-1])} is observed and "
            f"{in_words(self.expected[-1])} "
            "expected"
        ]
        known = self.share[np.isfinite(self.share)]
        if np.isposinf(self.share).any():
            said.append("there is an error where none is allowed")
        elif len(known):
            said.append(f"the error is at most {in_times(known.max())} the bound")
        if self.strays.any():
            said.append(f"{_steps(int(self.strays.sum()))} without a finite observed value")
        return "; ".join(said) + "."

    def chosen(self):
        """Indices of the points to draw: all, or of each stretch the ends and the extremes."""
        if self.count <= POINTS:
            return np.arange(self.count)
        kept = {0, self.count - 1}
        for part in np.array_split(np.arange(self.count), POINTS // 5):
            kept.add(int(part[0]))
            for values in (self.observed, -self.observed, np.nan_to_num(self.share, nan=-1)):
                kept.add(int(part[np.argmax(np.where(np.isnan(values[part]), -np.inf, values[part]))]))
            kept.update(part[self.strays[part]][:1].tolist())
        return np.array(sorted(kept))


def draw(curve, prefix):
    """``curve`` as an SVG element without width or height; all ids in it start with ``prefix``.

    Raises:
      ImportError: matplotlib is missing; the message says how to install it.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "The plots of the HTML report need the package `matplotlib`; install it with `pip install matplotlib`, or "
            "`tf1bn[report]`."
        ) from error

    buffer = io.StringIO()
    with matplotlib.rc_context():
        # A reader's own matplotlibrc changes nothing here, and the same numbers give the same bytes.
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
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
        )
        figure = _figure(Figure, curve)
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return _inline(buffer.getvalue(), prefix)


def _figure(figure_class, curve):
    chosen = curve.chosen()
    step, observed, expected, bound = (
        values[chosen] for values in (curve.step, curve.observed, curve.expected, curve.bound)
    )
    observed, expected = (np.where(_drawable(values), values, np.nan) for values in (observed, expected))
    bound = np.where(_drawable(bound), bound, np.nan)
    both = np.concatenate([observed, expected])
    low, high = np.nanmin(both), np.nanmax(both)
    zoomed = bool(np.isfinite(bound).any() and np.nanmax(bound) < VISIBLE * (high - low))
    figure = figure_class(figsize=(4.7, 4.1 if zoomed else 2.9), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2)) if zoomed else (figure.subplots(), None)

    few = len(chosen) <= MARKED
    band = np.isfinite(bound) & np.isfinite(expected)
    if band.any() and not zoomed:
        axes.fill_between(
            step,
            np.where(band, expected - bound, np.nan),
            np.where(band, expected + bound, np.nan),
            color=EXPECTED,
            alpha=0.25,
            linewidth=0,
            label="bound",
        )
        if band.sum() == 1:
            axes.errorbar(step[band], expected[band], bound[band], color=EXPECTED, alpha=0.4, linewidth=4)
    axes.plot(step, expected, color=EXPECTED, linewidth=3.2, alpha=0.75, label="expected", **_marker(few, "s", 5))
    axes.plot(step, observed, color=OBSERVED, linewidth=1.4, label="observed", **_marker(few, "o", 3))
    strays = curve.strays[chosen]
    if strays.any():
        _edge(axes, step[strays], 0.03, "x", "not finite")
    if not high - low > 1e-12 * max(abs(low), abs(high)) and np.isnan(bound).all():
        # Equal values: matplotlib would show digits that float64 does not hold.
        reach = max(abs(low), abs(high)) * 0.05 or 1
        axes.set_ylim(low - reach, high + reach)
    axes.grid(color=FAINT, alpha=0.25, linewidth=0.6)
    if zoomed:
        _shares(below, step, curve.share[chosen], few)
    bottom = below or axes
    bottom.set_xlabel("step")
    bottom.xaxis.get_major_locator().set_params(integer=True, nbins=6)
    if curve.count == 1:
        bottom.set_xticks(step, [f"{step[0]:.0f}"])
        bottom.set_xlim(step[0] - 1, step[0] + 1)
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside upper left", ncols=4, frameon=False, columnspacing=1.2
    )
    return figure


def _shares(axes, step, share, few):
    """The error in units of the bound, for bounds too small to be seen beside the values."""
    known = np.isfinite(share) & (share < DRAWABLE)
    most = share[known].max(initial=1)
    if most > 20:
        # Linear up to the bound, so that 0 has a place; the ticks are few enough to be told apart.
        axes.set_yscale("symlog", linthresh=1, linscale=0.7)
        decades = math.ceil(math.log10(most))
        every = -(-decades // 3)
        ticks = [0, *(10.0**i for i in range(0, decades + 1, every))]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_yticks([], minor=True)
    axes.axhspan(0, 1, color=EXPECTED, alpha=0.25, linewidth=0)
    axes.plot(step, np.where(known, share, np.nan), color=OBSERVED, linewidth=1.4, **_marker(few, "o", 3))
    if np.isposinf(share).any():
        _edge(axes, step[np.isposinf(share)], 0.97, "^", None)
    axes.set_ylim(0, most**1.1 if most > 20 else most * 1.15)
    axes.set_ylabel("error / bound")
    axes.grid(color=FAINT, alpha=0.25, linewidth=0.6)


def _edge(axes, step, height, marker, label):
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


def _marker(few, shape, size):
    return {"marker": shape, "markersize": size, "markeredgewidth": 0} if few else {}


def _inline(svg, prefix):
    """matplotlib's file as an element that may stand in an HTML page beside others like it."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", r'<svg aria-hidden="true" \1>', svg, count=1)
    used = set(re.findall(r"(?:#|url\(#)([\w-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = re.sub(r' id="', f' id="{prefix}', svg)
    svg = re.sub(r'xlink:href="#', f'href="#{prefix}', svg)
    svg = svg.replace("url(#", f"url(#{prefix}")
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    for colour, variable in COLOURS.items():
        svg = svg.replace(colour, variable)
    # matplotlib writes six decimals; a hundredth of a point is seen by nobody.
    svg = re.sub(r"(\d+\.\d\d)\d+", r"\1", svg)
    return re.sub(r"\s*\n\s*", "\n", svg).strip()


def _floats(values, name):
    if not isinstance(values, (list, tuple, np.ndarray)):
        raise PlotUnavailableError(f"The curve is damaged: it has no series {name!r}.")
    return np.array([_float(value) for value in values])


def _float(value):
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
    except OverflowError:
        return math.inf


def _drawable(values):
    return np.isfinite(values) & (np.abs(values) < DRAWABLE)


def _steps(count):
    return f"{count} step{'' if count == 1 else 's'}"
