"""What each TensorFlow 1.x release's ``tf.contrib.layers.batch_norm`` did: one table, read by code and README.

Sources: the released wheels; where the text says "measured", the release was run.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Release:
    """One release whose ``batch_norm`` differs from the one before.

    ``fused_default`` is what a call without ``fused=`` does on rank 2 and rank 4 inputs. The fused layer stores
    the batch variance times N/(N-1) (Bessel's correction), the composed layer the population variance.
    ``epsilon_floor`` is the smallest epsilon of the fused layer. ``float32_rate``: the layer behind the default
    ``updates_collections`` (rank 4, fused) computes 1 - decay in float32.
    """

    name: str
    fused_default: bool
    epsilon_floor: float
    float32_rate: bool
    change: str


TABLE = (
    Release("1.0", False, 0.0, False, "epsilon +1e-12 in the fused layer when it is 1e-5 or less"),
    Release("1.1", False, 0.0, False, "`param_regularizers` added (not with `fused`)"),
    Release("1.2", False, 0.0, False, "`renorm`, `renorm_clipping`, `renorm_decay=.99` added"),
    Release(
        "1.3",
        False,
        0.0,
        False,
        "as 1.2; the last release whose default stores the population variance (measured)",
    ),
    Release(
        "1.4",
        True,
        1.001e-5,
        False,
        "`fused=None` means True: N/(N-1) in the moving variance at rank 2 and 4 (measured); falls back to the "
        "composed layer without a word; `param_regularizers` dropped when fused; `tf.AUTO_REUSE` appears",
    ),
    Release(
        "1.5",
        True,
        1.001e-5,
        False,
        "`adjustment` added (prevents fusing); regularizers reach the fused layer; float16 input keeps float32 "
        "variables",
    ),
    Release(
        "1.8",
        True,
        1.001e-5,
        True,
        "1 - decay in float32 at rank 4 with default `updates_collections`: at .999 the step is .000999987 "
        "(measured on 1.15.5)",
    ),
    Release("1.15", True, 1.001e-5, True, "unchanged since 1.14; `renorm` rewritten in the core layer"),
)


def get(name):
    """The row that describes release ``name`` ("1.0" to "1.15").

    Raises:
      ValueError: there is no such release.
    """
    try:
        major, minor = (int(part) for part in str(name).split("."))
    except ValueError:
        major, minor = -1, -1
    if major != 1 or not 0 <= minor <= 15:
        raise ValueError(f"`release` is {name!r}; accepted are the TensorFlow releases '1.0' to '1.15'.")
    return [row for row in TABLE if int(row.name.split(".")[1]) <= minor][-1]


def markdown():
    """The table as Markdown, for the README."""
    lines = [
        "| TensorFlow | default layer | moving variance | fused epsilon at least | what changed |",
        "|---|---|---|---|---|",
    ]
    for row in TABLE:
        layer, variance = ("fused", "N/(N-1) of it") if row.fused_default else ("composed", "population variance")
        floor = f"{row.epsilon_floor:g}" if row.epsilon_floor else "as given"
        lines.append(f"| {row.name} | {layer} | {variance} | {floor} | {row.change} |")
    return "\n".join(lines) + "\n"
