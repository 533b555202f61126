"""What playing a recorded graph again compares, for all doors and releases: errors, names, collections, dtypes, shapes.

Numbers are compared by ``golden/errors.py``; a `Tally` counts what that came to.
"""

import collections
import itertools

import pytest
import tensorflow
from golden.record import errors


class Tally:
    """How many numbers were compared, how many were the same bits, and the worst use of a bound by case."""

    def __init__(self):
        self.graphs = self.same = self.all = 0
        self.worst = collections.Counter()

    def count(self, id, got, wanted, used):
        """Take an array that was replayed, the recorded one, and what the difference uses of its bound."""
        pairs = zip(got.ravel().tolist(), wanted.ravel().tolist(), strict=True)
        self.same += sum(repr(here) == repr(there) for here, there in pairs)
        self.all += wanted.size
        self.worst[id] = max(self.worst[id], float(used.max(initial=0)))

    def __str__(self):
        id, worst = self.worst.most_common(1)[0]
        return (
            f"{self.graphs} graphs, {self.same} of {self.all} values ({100 * self.same / self.all:.2f} %) are "
            f"bit-identical; the worst of the others uses {worst:.2f} of its bound ({id})"
        )


def tallies():
    """A fixture: a `Tally` by name, printed when the tests of the module are done."""

    @pytest.fixture(scope="module", name="tallies")
    def fixture(request):
        made = collections.defaultdict(Tally)
        yield made
        with request.config.pluginmanager.get_plugin("capturemanager").global_and_fixture_disabled():
            for name, tally in made.items():
                if tally.all:
                    print(f"\nreplay of {name}: {tally}", end="")

    return fixture


# By what people search for, and old tests match, the errors that the layers of 1.x raised themselves.
PHRASES = (
    "data_format has to be either NCHW or NHWC",
    "value_or_tensor_or_var cannot be None",
    "`pred` must be a Tensor",
    "has undefined rank",
    "has undefined `axis` dimension",
    "has undefined `C` dimension",
    "`C` dimension must be known but is None",
    "has undefined channels dimension",
    "has unsupported rank",
    "inputs are currently supported with fused batch norm",
    "Regularizers are not currently supported for fused batch norm",
    "Weighted mean and variance is not currently supported for fused batch norm",
    "contains keys not in ['rmax', 'rmin', 'dmax']",
    "renorm is not supported with batch_weights, updates_collections or zero_debias_moving_mean",
    "are incompatible",
    "Could not interpret initializer identifier",
    "Could not interpret regularizer identifier",
    "Could not interpret constraint identifier",
    "Unknown initializer",
    "Unknown regularizer",
    "Unknown constraint",
    "Invalid axis: ",
    "Duplicate axis: ",
    "axis must be int or list, type given",
    "virtual_batch_size must be a positive integer that divides the true batch size of the input Tensor",
    "When using virtual_batch_size, the batch dimension must be 0 and thus axis cannot include 0",
    "When using virtual_batch_size, adjustment cannot be specified",
    "Unsupported axis, fused batch norm only supports axis == ",
    "None values not supported",
)


def other_error(played, recorded, mode="reference", *, exact=False):
    """What an error is otherwise than the recorded one, or None; either may be None, for no error.

    The phrases of 1.x by which people know an error must be in its message.

    ``exact``: a more special exception than the recorded one is another.
    """
    if recorded is None or played is None:
        return None if played is recorded else f"error: {played} here, {recorded} in the recording"
    # What control flow of TensorFlow 2 refuses, it refuses with the more general exception.
    accepted = recorded["kinds"][:1] if mode == "reference" else recorded["kinds"]
    kinds = played["kinds"][:1] if exact else played["kinds"]
    lost = [phrase for phrase in PHRASES if phrase in recorded["message"] and phrase not in played["message"]]
    if played["when"] == recorded["when"] and any(kind in kinds for kind in accepted) and not lost:
        return None
    return f"error: {played} here, {recorded} in the recording"


def other_graph(played, recorded, mode="reference", *, made_by_keras=False, takes_more=False):
    """What a graph is otherwise than the recorded one, or None.

    Args:
      made_by_keras: Keras makes its losses; their names are compared without the last part.
      takes_more: with resource variables a function of TensorFlow 2's control flow takes every variable that it
        touches as an input.
    """
    if mode == "resource":
        played, recorded = _without_operation_names(played), _without_operation_names(recorded)
        if takes_more:
            for here, there in zip(played["outputs"], recorded["outputs"], strict=True):
                if not set(here.pop("uses")) >= set(there.pop("uses")):
                    return f"an output uses {here} here, {there} in the recording"
    if made_by_keras:
        for losses in (graph["collections"].get("regularization_losses", []) for graph in (played, recorded)):
            losses[:] = [[kind, name.rpartition("/")[0]] for kind, name in losses]
        played, recorded = ({**graph, "watched": list(graph.get("watched", []))} for graph in (played, recorded))
    for part in ("variables", "collections", "outputs", "watched", "notes"):
        if played.get(part) != recorded.get(part):
            return f"{part}: {played.get(part)} here, {recorded.get(part)} in the recording"
    return None


def difference(case, played, recorded, floor, tally=None, left_out=lambda key: False, bounds_of=None):
    """What a replay under another release than 1.15 does otherwise than the recording; None if nothing.

    Args:
      floor: the smallest epsilon of the release's fused layer.
      left_out: which numbers are not compared, by their keys.
      bounds_of: what gives the errors of a recording; None for `errors.errors_of`.
    """
    if "error" in recorded or "error" in played:
        return other_error(played.get("error"), recorded.get("error"), exact=True)
    if other := other_graph(played["graph"], recorded["graph"]):
        return other
    if ("steps" in played) != ("steps" in recorded):
        return "one of them has no steps"
    if "steps" not in recorded:
        return None
    for part in ("initial", "start"):
        if played[part] != recorded[part]:
            return f"{part}: {played[part]} here, {recorded[part]} in the recording"
    for key, got, wanted, used in errors.compared(case, played, case, recorded, floor, bounds_of):
        if left_out(key):
            continue
        if tally is not None:
            tally.count(case.id, got, wanted, used)
        if not used.max(initial=0) <= 1:
            return errors.description(key, got, wanted, used)
    return None


def _without_operation_names(graph):
    """What the recordings, made with reference variables, say about a graph of another kind of variable."""

    def anonymous(items):
        return [item if item[0] == "Variable" and item[1].endswith(":0") else "an operation" for item in items]

    return {
        "watched": {key: uses for key, (_, uses) in graph.get("watched", {}).items()},
        "notes": graph.get("notes"),
        "variables": [[name, shape, dtype.replace("_ref", "")] for name, shape, dtype in graph["variables"]],
        "collections": {key: anonymous(items) for key, items in graph["collections"].items()},
        "outputs": [
            {key: len(value) if key == "updates" else value for key, value in output.items() if key != "name"}
            for output in graph["outputs"]
        ],
    }


# ---------------------------------------------------------------- many cases in one test

AT_ONCE = 50
TENSORS = ("dynamic", "placeholder", "variable", "computed")


class WithoutGraphOptimizer:
    """``tf.compat.v1`` whose sessions run graphs as they are; optimising them takes a third of the time of a replay."""

    def __getattr__(self, name):
        return getattr(tensorflow.compat.v1, name)

    def ConfigProto(self, **options):
        config = tensorflow.compat.v1.ConfigProto(**options)
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        return config


def kind(case, recorded):
    """Code path, dtype and whether ``is_training`` is a tensor: a covering sample has one case of each kind."""
    path = recorded.get("path") or recorded.get("error", {}).get("when")
    return path, case.dtype, any(word in case.id for word in TENSORS)


def covering(rows, kinds_of):
    """The first of ``rows`` of each kind. ``kinds_of(*row)``: the kinds that a row is an example of."""
    seen, chosen = set(), []
    for row in rows:
        kinds = set(kinds_of(*row))
        if not kinds <= seen:
            chosen.append(row)
            seen |= kinds
    return chosen


def at_once(rows, group_of, sample=()):
    """Values for ``pytest.mark.parametrize``: lists of at most `AT_ONCE` rows, each row in one of them.

    Args:
      group_of: ``group_of(*row)`` names what is played together.
      sample: the rows that every run plays, in lists of their own; the other lists are marked ``recordings``.
    """
    sample = set(sample)
    named = {"sample": [row for row in rows if row in sample]}
    for name, members in itertools.groupby(
        sorted((row for row in rows if row not in sample), key=lambda row: group_of(*row)), lambda row: group_of(*row)
    ):
        named[name] = list(members)
    return [
        pytest.param(
            members[start : start + AT_ONCE],
            id=f"{name}-{start // AT_ONCE}",
            marks=() if name == "sample" else pytest.mark.recordings,
        )
        for name, members in named.items()
        for start in range(0, len(members), AT_ONCE)
    ]
