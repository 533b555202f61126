"""The sweep over decays as a picture. matplotlib is imported where it is used."""

import io

from .._util.text import counted
from ..reports.packages import import_for
from .options import decay_text

# The colours of Okabe and Ito, which readers with any colour vision can tell apart; markers repeat the distinction.
# After seven decays the colours are used again, with other markers.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#000000", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "x", "P")


def figure_class():
    """matplotlib's Figure.

    Raises:
      ImportError: matplotlib is missing; the message says how to install it.
    """
    return import_for("`--plot`", "matplotlib.figure").Figure


def plot_sweep(result, kind):
    """The sweep as a picture.

    Args:
      result: the JSON's dict.
      kind: "png" or "svg".

    Returns:
      bytes, the content of the file.
    """
    buffer = io.BytesIO()
    # No date in the file: the same result gives the same picture.
    sweep_figure(result).savefig(buffer, format=kind, dpi=130, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def sweep_figure(result):
    """The sweep as a matplotlib figure: the share of the data and the test error against training steps."""
    figure = figure_class()(figsize=(11, 5), layout="constrained")
    carried, error = figure.subplots(1, 2)
    for i, row in enumerate(result["sweep"]):
        colour, marker = _COLOURS[i % len(_COLOURS)], _MARKERS[(i + i // len(_COLOURS)) % len(_MARKERS)]
        reach = row["steps_to_99"]
        label = f"decay {decay_text(row['decay'])}: " + (
            "99 % never" if reach is None else f"99 % after {counted(reach, 'step')}"
        )
        for axes, name in ((carried, "carried"), (error, "test_error")):
            points = zip(*(row["curve"][key] for key in ("step", name, f"{name}_closed_form")), strict=True)
            steps, measured, closed = zip(*(point for point in points if point[0] > 0), strict=True)
            axes.plot(steps, measured, color=colour, marker=marker, markersize=5, linestyle="none")
            axes.plot(steps, closed, color=colour, linewidth=1.4)
        carried.plot([], [], color=colour, marker=marker, markersize=5, linewidth=1.4, label=label)
    carried.axhline(0.99, color="0.4", linewidth=0.9, linestyle="--")
    carried.annotate("99 %", (1, 0.99), xytext=(0, -12), textcoords="offset points", color="0.3", fontsize=9)
    carried.set(
        xscale="log",
        xlabel="training steps t",
        ylabel="share of the batch in the moving mean, $1 - d^t$",
        title="How fast the moving statistics follow the data",
        ylim=(-0.03, 1.05),
    )
    error.set(
        xscale="log",
        yscale="log",
        xlabel="training steps t",
        ylabel="root mean square error of the test output",
        title="What testing with them costs",
        ylim=(1e-8, 1e3),
    )
    error.annotate("float32 rounding", (0.03, 0.15), xycoords="axes fraction", color="0.3", fontsize=9)
    for axes in (carried, error):
        axes.grid(alpha=0.25)
    figure.legend(
        *carried.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3,
        frameon=False,
        title="marks: measured, lines: closed form",
    )
    return figure
