"""Models and data in files, for ``tf1bn recalibrate``: checkpoints with ``.meta``, SavedModels, arrays, TFRecords."""

import glob
import json
import math
import os
import re
import shutil
import tempfile
import zipfile
import zlib

import numpy as np
import tensorflow as _tf
from google.protobuf.message import DecodeError

from ..errors import CommandError

tf = _tf.compat.v1
OpError = _tf.errors.OpError
_INDEX = ".index"
# Bytes around each record of a TFRecord file: its length and two checksums.
_FRAME = 16
# What reading damaged data may raise.
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    DecodeError,
    OpError,
)


def keep_log(verbose):
    """Keep what TensorFlow says about its older functions from the terminal, unless it is wanted."""
    tf.logging.set_verbosity(tf.logging.INFO if verbose else tf.logging.ERROR)


class StoredModel:
    """A graph and the values of its variables, loaded into a session of its own. A context manager.

    Args:
      path: the prefix of a TF1 checkpoint beside which its ``.meta`` lies, or the folder of a SavedModel.

    Attributes:
      session: the session, with the values restored.

    Raises:
      CommandError: there is no such model, or it cannot be loaded.
    """

    def __init__(self, path):
        self._path = path
        self._is_folder = os.path.isdir(path)
        if not self._is_folder and not os.path.exists(path + ".meta"):
            raise CommandError(
                f"`MODEL` is {path!r}; there is no {path + '.meta'!r} and no such folder. Give the prefix of a "
                "checkpoint beside which its .meta lies, or the folder of a SavedModel."
            )
        self.session = tf.Session(graph=tf.Graph())

    def __enter__(self):
        load = self._load_saved_model if self._is_folder else self._load_checkpoint
        try:
            with self.session.graph.as_default():
                self._saver = load()
        except (OSError, ValueError, KeyError, RuntimeError, TypeError, OpError) as error:
            self.session.close()
            raise CommandError(f"`MODEL` is {self._path!r}, which cannot be loaded: {first_line(error)}") from error
        return self

    def __exit__(self, *error):
        self.session.close()

    def placeholder(self, name):
        """The placeholder of a name, with or without ":0"; CommandError if there is none."""
        try:
            tensor = self.session.graph.as_graph_element(name if ":" in name else f"{name}:0")
        except (KeyError, ValueError, TypeError):
            tensor = None
        if tensor is None or not tensor.op.type.startswith("Placeholder"):
            names = [op.name for op in self.session.graph.get_operations() if op.type.startswith("Placeholder")]
            there = ", ".join(map(repr, names)) or "none"
            raise CommandError(f"{name!r} is no placeholder of the graph; it has {there}.")
        return tensor

    def save(self, output):
        """Write the model with the values that the session holds now, beside the old one.

        Raises:
          CommandError: it cannot be written.
        """
        try:
            (self._save_saved_model if self._is_folder else self._save_checkpoint)(output)
        except (OSError, OpError) as error:
            raise CommandError(f"`--output` is {output!r}, which cannot be written: {first_line(error)}") from error

    def check_output(self, output):
        """Raise CommandError if `save` would write over something."""
        if not output or (not self._is_folder and not os.path.basename(output)):
            raise CommandError(
                f"`--output` is {output!r}; it must be the name of a new folder for a SavedModel, and of a checkpoint "
                "a prefix such as 'folder/new.ckpt'."
            )
        data = glob.escape(output) + ".data-?????-of-?????"
        there = [output] if self._is_folder else [output + _INDEX, output + ".meta", *glob.glob(data)]
        if any(map(os.path.lexists, there)):
            raise CommandError(f"`--output` is {output!r}, which is there; nothing is written over; choose a new name.")
        above = os.path.dirname(os.path.abspath(output))
        if not os.path.isdir(above):
            raise CommandError(f"`--output` is {output!r}, and the folder {above!r} does not exist; make it first.")

    def _load_checkpoint(self):
        saver = tf.train.import_meta_graph(self._path + ".meta", clear_devices=True) or tf.train.Saver()
        saver.restore(self.session, self._path)
        return saver

    def _load_saved_model(self):
        loaded = tf.saved_model.load(self.session, [tf.saved_model.tag_constants.SERVING], self._path)
        return loaded.saver_def

    def _save_checkpoint(self, output):
        above, name = os.path.split(os.path.abspath(output))
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=above) as folder:
            with self.session.graph.as_default():
                self._saver.save(self.session, os.path.join(folder, name), write_meta_graph=False, write_state=False)
            shutil.copyfile(self._path + ".meta", os.path.join(folder, f"{name}.meta"))
            # The index last: without it there is no checkpoint.
            for file in sorted(os.listdir(folder), key=lambda file: file.endswith(_INDEX)):
                os.rename(os.path.join(folder, file), os.path.join(above, file))

    def _save_saved_model(self, output):
        above, name = os.path.split(os.path.abspath(output))
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=above) as folder:
            new = os.path.join(folder, name)
            shutil.copytree(self._path, new, ignore=shutil.ignore_patterns("variables"))
            prefix = os.path.join(new, "variables", "variables")
            os.mkdir(os.path.dirname(prefix))
            self.session.run(self._saver.save_tensor_name, {self._saver.filename_tensor_name: prefix})
            os.rename(new, os.path.join(above, name))


def fed_value(text, placeholder):
    """The value that "NAME=VALUE" feeds to a placeholder, an array; CommandError if it does not fit."""
    try:
        value = np.asarray(json.loads(text.lower() if text in ("True", "False") else text))
        return _cast(value, placeholder.dtype.as_numpy_dtype)
    except (ValueError, TypeError, RecursionError) as error:
        raise CommandError(
            f"`--feed` gives {placeholder.op.name!r} the value {text!r}; it must be true, false, a number or a list of "
            f"numbers, of dtype {placeholder.dtype.name}."
        ) from error


def read_rows(spec, placeholder):
    """The array that "FILE", "FILE.npz:NAME" or "FILE.tfrecord:FEATURE" names, with a row for each example.

    Raises:
      CommandError: the file cannot be read, or does not fit the placeholder.
    """
    path, _, key = spec.rpartition(":")
    if not path:
        path, key = spec, ""
    try:
        rows = _records(path, key, placeholder) if _is_record(path) else _array(path, key, spec)
    except _UNREADABLE as error:
        raise CommandError(f"`--data` names {spec!r}, which cannot be read: {first_line(error)}") from error
    if not rows.ndim or not placeholder.shape.is_compatible_with((None, *rows.shape[1:])):
        raise CommandError(
            f"`--data` gives {placeholder.op.name!r} an array of shape {rows.shape}; it must be of shape "
            f"{tuple(placeholder.shape.as_list())}, with a row for each example."
        )
    if not np.can_cast(rows.dtype, placeholder.dtype.as_numpy_dtype, "same_kind"):
        raise CommandError(
            f"`--data` gives {placeholder.op.name!r} an array of dtype {rows.dtype}; it must be "
            f"{placeholder.dtype.name}."
        )
    return rows


def _cast(values, dtype):
    """An array in another dtype of its kind; ValueError if whole numbers do not fit."""
    with np.errstate(over="ignore"):
        cast = values.astype(dtype, casting="same_kind")
    if values.dtype.kind in "iu" and cast.dtype.kind in "iu" and not np.array_equal(cast, values):
        raise ValueError(f"it holds whole numbers beyond the range of {cast.dtype.name}.")
    return cast


def _array(path, key, spec):
    if not key or os.path.exists(spec):
        path, key = spec, ""
    with open(path, "rb") as file:
        start = file.read(6)
    if start[:4] != b"PK\x03\x04" and start != b"\x93NUMPY":
        raise ValueError("it is neither a whole .npy or .npz file, nor is its name that of TFRecords, NAME.tfrecord.")
    if start == b"\x93NUMPY":
        if key:
            raise ValueError("it holds a single array; leave out what follows the colon.")
        return np.load(path, mmap_mode="r", allow_pickle=False)
    # NumPy leaves a damaged file open that it has opened itself.
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as loaded:
        if not key and len(loaded.files) == 1:
            (key,) = loaded.files
        if key not in loaded.files:
            raise ValueError(f"it holds the arrays {', '.join(map(repr, loaded.files))}; name one as FILE:NAME.")
        return loaded[key]


def _is_record(path):
    return path.endswith((".tfrecord", ".tfrecords"))


def _records(path, feature, placeholder):
    """All examples of a file, in memory."""
    shape = placeholder.shape[1:].as_list() if placeholder.shape.rank else [None]
    if None in shape:
        raise ValueError(f"the shape {placeholder.shape} of the placeholder does not say how large an example is.")
    dtype = placeholder.dtype.as_numpy_dtype
    rows = []
    left = _tf.io.gfile.stat(path).length
    for record in _tf.data.TFRecordDataset(path).as_numpy_iterator():
        left -= len(record) + _FRAME
        features = _tf.train.Example.FromString(record).features.feature
        if feature not in features:
            there = ", ".join(map(repr, sorted(features)))
            raise ValueError(f"an example has the features {there}; name one as FILE:NAME.")
        values = _values(features[feature], dtype)
        size = math.prod(shape)
        if values.size != size:
            raise ValueError(
                f"example {len(rows)} has {values.size} numbers in {feature!r}, and the placeholder takes {size}."
            )
        rows.append(values.reshape(shape))
    # TensorFlow ends without an error at the start of a record of which the rest is missing.
    if left:
        raise ValueError(f"it was cut: {left} bytes after {len(rows)} whole examples are no example.")
    if not rows:
        raise ValueError("it holds no examples.")
    return np.stack(rows)


def _values(feature, dtype):
    """The numbers of a feature of an example; raw bytes are those of `dtype`."""
    kind = feature.WhichOneof("kind")
    values = getattr(feature, kind).value if kind else ()
    if kind != "bytes_list":
        values = np.asarray(values, np.int64 if kind == "int64_list" else np.float32)
        if values.dtype.kind == "i" and np.dtype(dtype).kind == "u":
            # An int64 list is the only one for whole numbers, whatever their sign.
            if (values < 0).any():
                raise ValueError(f"it holds negative numbers, and the placeholder is {np.dtype(dtype).name}.")
            values = values.astype(np.uint64)
        try:
            return values.astype(bool) if dtype is np.bool_ and np.isin(values, (0, 1)).all() else _cast(values, dtype)
        except TypeError as error:
            raise ValueError(f"it holds {values.dtype.name}, and the placeholder is {np.dtype(dtype).name}.") from error
    if len(values) != 1:
        raise ValueError(f"an example has {len(values)} strings of bytes in the feature; it must be one.")
    return np.frombuffer(values[0], np.dtype(dtype).newbyteorder("<")).astype(dtype)


def first_line(error):
    """The first line of what an error says, as the end of a sentence."""
    text = str(getattr(error, "message", error))
    # In a graph the message follows the name of the operation, and a long account of where it was made.
    of_node = re.search(r"^Node: .*\n(.+)", text, re.MULTILINE)
    text = (of_node[1] if of_node else text).strip().partition("\n")[0] or type(error).__name__
    # What TensorFlow says of its own operations around the message.
    text = re.sub(r"^\{\{.*?\}\} *|( *\[Op:\w+\])? *name: *$", "", text)
    return text if text.endswith(".") else f"{text}."
