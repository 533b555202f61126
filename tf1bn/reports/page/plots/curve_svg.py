"""One statistic of one channel over the steps as SVG: the values above, and below the error beside its two bounds.

The picture has classes and no colours of its own, so that it follows the page in light, dark and print and needs no
style attribute. Each verdict has a shape of its own as well as a colour: a dot, a triangle, a cross.
"""

import numpy as np

from ..misfits import EXPECTED_ERROR, WORST_CASE
from . import axes
from .curve_data import FINDING, OK, UNDECIDABLE, drawable

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT = 64, 412
VALUES, ERRORS = (26, 154), (188, 270)  # top and bottom of the two panels
MARKED = 60  # up to this many points all have a marker; of more those alone that are not ok
MARKS = {OK: "h0", UNDECIDABLE: "m-3.5 3h7l-3.5-6z", FINDING: "m-3-3l6 6m0-6l-6 6"}
NAMES = {OK: "ok", UNDECIDABLE: "undecidable", FINDING: "finding"}


def draw(curve):
    """A `curve_data.Curve` as an SVG element without width or height, a string."""
    points = curve.points()
    x_axis = axes.steps(curve.step[points], LEFT, RIGHT)
    picture = _Picture(x_axis.place(curve.step[points]), curve, points)
    picture.values()
    picture.errors()
    picture.step_axis(x_axis)
    legend = _legend(picture)
    body = "".join([*legend, *picture.parts])
    return f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">{body}</svg>'


class _Picture:
    """The parts of one picture; ``x`` are the places of its points."""

    def __init__(self, x, curve, points):
        self.x, self.curve, self.at = x, curve, int(np.searchsorted(points, curve.at))
        self.observed, self.expected = (
            np.where(drawable(values), values, np.nan) for values in (curve.observed[points], curve.expected[points])
        )
        self.bounds = [_positive(values[points]) for values in (curve.expected_error, curve.worst_case)]
        self.has_bounds = all(np.isfinite(bound).any() for bound in self.bounds)
        self.error, self.verdicts = curve.error[points], curve.verdicts[points]
        self.marked = np.full(len(points), True) if len(points) <= MARKED else self.verdicts != OK
        self.parts = []

    def values(self):
        """The upper panel: observed and expected values."""
        both = np.concatenate([self.observed, self.expected])
        axis = axes.linear(both[np.isfinite(both)], VALUES[1], VALUES[0])
        self._frame(axis, VALUES, "value")
        y = axis.place(self.observed)
        self.parts.append(_line("expected", self.x, axis.place(self.expected)))
        self.parts.append(_line("observed", self.x, y))
        lost = np.isnan(self.observed)
        self._marks(np.where(lost, VALUES[1] - 5, y), lost)

    def errors(self):
        """The lower panel: the error, on a logarithmic axis, above the regions that the bounds part."""
        top, bottom = ERRORS
        seen = np.concatenate([_positive(self.error), *self.bounds])
        seen = seen[np.isfinite(seen)]
        axis = axes.logarithmic(seen if len(seen) else np.ones(1), bottom, top)
        with np.errstate(all="ignore"):
            # Where there is no error the point is on the lower edge.
            y = axis.place(np.where(self.error == 0, -np.inf, np.log10(self.error)))
            edges = [axis.place(np.log10(bound)) for bound in self.bounds]
        if self.has_bounds:
            x, edges = _wide(self.x, edges)
            self.parts.append(_region("within", x, edges[0], np.full(len(x), bottom)))
            if self.curve.two_bounds:
                self.parts.append(_region("between", x, edges[1], edges[0]))
                self.parts.append(_line("worst-case", x, edges[1]))
            self.parts.append(_line("expected-error", x, edges[0]))
        self._frame(axis, ERRORS, "error")
        lost = ~np.isfinite(self.error)
        self.parts.append(_line("observed", self.x, np.where(lost, np.nan, y)))
        self._marks(np.where(lost, top + 5, y), lost)

    def step_axis(self, axis):
        """The labels below both panels."""
        for place, text in axis.ticks:
            self.parts.append(f'<text class="x" x="{_short(place)}" y="{ERRORS[1] + 14}">{text}</text>')
        self.parts.append(f'<text class="x" x="{(LEFT + RIGHT) // 2}" y="{HEIGHT - 2}">step</text>')

    def _frame(self, axis, panel, name):
        top, bottom = panel
        grid = "".join(f"M{LEFT} {_short(place)}H{RIGHT}" for place, _ in axis.ticks)
        self.parts.append(f'<path class="grid" d="{grid}"/><path class="edge" d="M{LEFT} {top}V{bottom}H{RIGHT}"/>')
        self.parts += [
            f'<text class="y" x="{LEFT - 5}" y="{_short(place + 4)}">{text}</text>' for place, text in axis.ticks
        ]
        self.parts.append(
            f'<text class="name" transform="translate(11 {(top + bottom) // 2})rotate(-90)">{name}</text>'
        )

    def _marks(self, y, lost):
        """Markers in the colours of the verdicts, and a ring around the one that the text speaks of."""
        for verdict, shape in MARKS.items():
            at = np.flatnonzero((self.marked | lost) & (self.verdicts == verdict) & ~np.isnan(y))
            if len(at):
                marks = "".join(f"M{_short(self.x[i])} {_short(y[i])}{shape}" for i in at)
                self.parts.append(f'<path class="mark {NAMES[verdict]}" d="{marks}"/>')
        if not np.isnan(y[self.at]):
            self.parts.append(f'<circle class="here" cx="{_short(self.x[self.at])}" cy="{_short(y[self.at])}" r="7"/>')


def _legend(picture):
    """The names of lines and marks, in one row above and one between the panels."""
    rows = [(12, [("expected", "expected"), ("observed", "observed")])]
    rows[0][1].extend((f"mark {NAMES[v]}", NAMES[v]) for v in MARKS if (picture.verdicts == v).any())
    if picture.has_bounds:
        two = picture.curve.two_bounds
        bounds = (
            [("expected-error", EXPECTED_ERROR), ("worst-case", WORST_CASE)] if two else [("expected-error", "allowed")]
        )
        rows.append((ERRORS[0] - 12, bounds))
    parts = []
    for y, entries in rows:
        x = LEFT
        for line, name in entries:
            shape = next((MARKS[verdict] for verdict in MARKS if line.endswith(f" {NAMES[verdict]}")), None)
            path, width = (f"M{x} {y}h16", 16) if shape is None else (f"M{x + 4} {y}{shape}", 8)
            parts.append(f'<path class="{line}" d="{path}"/><text x="{x + width + 4}" y="{y + 4}">{name}</text>')
            x += width + 14 + round(6.1 * len(name))
    return parts


def _positive(values):
    """The values that a logarithmic axis can show; NaN for the others."""
    with np.errstate(invalid="ignore"):
        return np.where(drawable(values) & (values > 1e-100), values, np.nan)


def _wide(x, edges):
    """One point alone as a line over the whole panel."""
    if len(x) > 1:
        return x, edges
    return np.array([LEFT, RIGHT]), [np.repeat(edge, 2) for edge in edges]


def _line(name, x, y):
    """A path through the points, with gaps where y is NaN."""
    drawn, last = [], False
    for px, py in zip(x.tolist(), y.tolist(), strict=True):
        if py == py:
            drawn.append(f"{'' if last else 'M'}{_short(px)} {_short(py)}")
        last = py == py
    return f'<path class="{name}" d="{" ".join(drawn)}"/>' if drawn else ""


def _region(name, x, top, bottom):
    """The area between two lines, where both have points."""
    at = np.flatnonzero(~np.isnan(top) & ~np.isnan(bottom))
    if not len(at):
        return ""
    upper = " ".join(f"{_short(x[i])} {_short(top[i])}" for i in at)
    lower = " ".join(f"{_short(x[i])} {_short(bottom[i])}" for i in at[::-1])
    return f'<path class="{name}" d="M{upper} {lower}z"/>'


def _short(number):
    """A place with one decimal, which is less than can be seen."""
    return f"{number:.1f}".removesuffix(".0")
