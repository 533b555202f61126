"""Names that TensorFlow lost in 1.0, each with the one that it has had since, and arguments whose order changed then.

No release of 1.x has the names, so scripts that use them stop in 1.15 too; `tf1bn run` lends them as 0.12 had them. A
script that asks whether they are there, as many do that run with both, is told that they are not.
"""

import ast
import functools
import importlib
import linecache
import os
import sys

from .python2_detection import expects
from .python2_translation import syntax_tree

RENAMED = {
    "audio_summary": "summary.audio",
    "batch_cholesky": "cholesky",
    "batch_fft": "fft",
    "batch_matmul": "matmul",
    "batch_matrix_inverse": "matrix_inverse",
    "complex_abs": "abs",
    "concat_v2": "concat",
    "histogram_summary": "summary.histogram",
    "image.per_image_whitening": "image.per_image_standardization",
    "image_summary": "summary.image",
    "inv": "reciprocal",
    "listdiff": "setdiff1d",
    "merge_all_summaries": "summary.merge_all",
    "merge_summary": "summary.merge",
    "mul": "multiply",
    "neg": "negative",
    "nn.bidirectional_rnn": "nn.static_bidirectional_rnn",
    "nn.rnn": "nn.static_rnn",
    "nn.state_saving_rnn": "nn.static_state_saving_rnn",
    "pack": "stack",
    "scalar_summary": "summary.scalar",
    "select": "where",
    "split_v": "split",
    "sub": "subtract",
    "train.SummaryWriter": "summary.FileWriter",
    "unpack": "unstack",
}
_HERE = os.path.join(os.path.dirname(__file__), "")
_MISSING = {"AttributeError", "ImportError", "Exception", "NameError"}


def lent(path, missing, old_names):
    """What the name at ``path`` below ``tensorflow`` meant in 0.12, for a script that does not ask whether it is there.

    Args:
      path: the name, such as "train.SummaryWriter".
      missing: the sentence to raise about a name that 0.12 had not either.
      old_names: the `OldNames` of the script; None lends nothing.

    Raises:
      AttributeError: with ``missing``, or with what to use.
    """
    if path in RENAMED:
        if old_names is not None and not _asked(sys._getframe(1)):
            old_names.lent.add(f"tf.{path}")
            return _AS_THEY_WERE.get(path) or functools.reduce(getattr, RENAMED[path].split("."), _v1())
        missing = (
            f"module 'tensorflow' has no attribute {path!r}: it left in 1.0, and no release 1.x has it: use "
            f"`tf.{RENAMED[path]}`."
        )
    raise AttributeError(missing)


def _asked(frame):
    """Whether the script's code that a frame came from asks whether a name is there: in a `try`, or by `hasattr`."""
    while frame.f_code.co_filename.startswith((_HERE, "<frozen importlib")):
        frame = frame.f_back
    return frame.f_lineno in _asking_lines(frame.f_code.co_filename)


@functools.lru_cache(64)
def _asking_lines(file):
    """The lines of a source that expect that a name may be missing."""
    lines = set()
    try:
        tree = syntax_tree("".join(linecache.getlines(file)).encode(), file)
    except (SyntaxError, ValueError):
        return lines
    for node in ast.walk(tree):
        if isinstance(node, ast.Try) and expects(node, _MISSING):
            lines.update(range(node.body[0].lineno, node.body[-1].end_lineno + 1))
        elif isinstance(node, ast.Call) and getattr(node.func, "id", None) in ("getattr", "hasattr"):
            lines.update(range(node.lineno, node.end_lineno + 1))
    return lines


def operations(lends):
    """Operations that also take their arguments in the order of 0.12, which is an error in 1.x, by their names in `tf`.

    Args:
      lends: a function that is called with what was lent, such as "tf.concat(concat_dim, values)".
    """

    def takes(path, order, rewritten):
        operation = functools.reduce(getattr, path.split("."), _v1())

        @functools.wraps(operation)
        def either(*args, **kwargs):
            new = rewritten(args, kwargs)
            if new is None:
                # In 1.x losses had an argument before their labels, which had to be None.
                return operation(*(args[1:] if args and args[0] is None else args), **kwargs)
            lends(f"tf.{path}({order})")
            return operation(**new)

        return path, either

    def concat(args, kwargs):
        return _reordered(("concat_dim", "values", "name"), {"concat_dim": "axis"}, args, kwargs)

    def split(args, kwargs):
        new = {"split_dim": "axis", "num_split": "num_or_size_splits"}
        return _reordered(("split_dim", "num_split", "value", "name"), new, args, kwargs)

    def loss(args, kwargs):
        if not _logits_first(args) and "targets" not in kwargs:
            return None
        given = _by_name(("logits", "labels", "name"), args, kwargs)
        return {"labels" if name == "targets" else name: value for name, value in given.items()}

    def loss_with_axis(args, kwargs):
        return _by_name(("logits", "labels", "dim", "name"), args, kwargs) if _logits_first(args) else None

    def reverse(args, kwargs):
        given = _by_name(("tensor", "dims", "name"), args, kwargs)
        dims = given.get("dims")
        if not isinstance(dims, (list, tuple)) or not dims or not all(isinstance(dim, bool) for dim in dims):
            return None
        given["axis"] = [axis for axis, wanted in enumerate(given.pop("dims")) if wanted]
        return given

    return dict(
        (
            takes("concat", "concat_dim, values", concat),
            takes("split", "split_dim, num_split, value", split),
            takes("reverse", "tensor, dims", reverse),
            takes("nn.softmax_cross_entropy_with_logits", "logits, labels", loss_with_axis),
            takes("nn.sparse_softmax_cross_entropy_with_logits", "logits, labels", loss),
            takes("nn.sigmoid_cross_entropy_with_logits", "logits, targets", loss),
        )
    )


def _reordered(names, new, args, kwargs):
    """The arguments by their names of 1.x if an axis, a number, comes first as in 0.12; otherwise None."""
    if not (args and hasattr(args[0], "__index__") and not hasattr(args[0], "shape")) and names[0] not in kwargs:
        return None
    given = _by_name(names, args, kwargs)
    return {new.get(name, name): value for name, value in given.items()}


def _logits_first(args):
    """Whether a loss gets its logits without a name: in 1.x the first argument has one, or is None."""
    return bool(args) and args[0] is not None


def _by_name(names, args, kwargs):
    if len(args) > len(names):
        raise TypeError(f"{len(args)} arguments are given; there are at most {len(names)}: {', '.join(names)}.")
    given = dict(zip(names, args, strict=False))
    if twice := given.keys() & kwargs.keys():
        raise TypeError(f"`{min(twice)}` is given twice, by its place and by its name.")
    return given | kwargs


def _v1():
    return importlib.import_module("tensorflow").compat.v1


def _summary(operation, *names):
    """A function of 0.12 that adds a summary to a collection, under the tag that it is given; ``names``: of inputs."""

    def summary(*args, collections=None, name=None, **kwargs):
        given = _by_name((*names, "collections", "name"), args, kwargs)
        collections, name = given.pop("collections", collections), given.pop("name", name)
        tensor = getattr(importlib.import_module("tensorflow").raw_ops, operation)(**given, name=name or operation)
        for key in [_v1().GraphKeys.SUMMARIES] if collections is None else collections:
            _v1().add_to_collection(key, tensor)
        return tensor

    return summary


def _batch_matmul(x, y, adj_x=False, adj_y=False, name=None):
    return _v1().matmul(x, y, adjoint_a=bool(adj_x), adjoint_b=bool(adj_y), name=name)


def _select(condition, t, e, name=None):
    return _v1().where(condition, t, e, name=name)


def _split_v(value, size_splits, split_dim=0, num=None, name="split_v"):
    return _v1().split(value, size_splits, split_dim, num, name)


# Those of which the successors take other arguments, or name their summaries otherwise.
_AS_THEY_WERE = {
    "audio_summary": _summary("AudioSummaryV2", "tag", "tensor", "sample_rate", "max_outputs"),
    "batch_matmul": _batch_matmul,
    "histogram_summary": _summary("HistogramSummary", "tag", "values"),
    "image_summary": _summary("ImageSummary", "tag", "tensor", "max_images"),
    "scalar_summary": _summary("ScalarSummary", "tags", "values"),
    "select": _select,
    "split_v": _split_v,
}
