"""What TensorFlow 1.x did under Python 2, where a ``str`` was bytes: files and functions of Python in a graph."""

import numpy as np
import tensorflow

tf = tensorflow.compat.v1


class File(tf.gfile.GFile):
    """A file whose ``read`` returns what is there: text, or the bytes if they are no text, in the mode "r" too."""

    def read(self, n=-1):
        """At most ``n`` bytes from where the file is read next, all that are left with -1."""
        start = self.tell()
        try:
            return super().read(n)
        except UnicodeDecodeError:
            with tf.gfile.GFile(self.name, "rb") as file:
                file.seek(start)
                data = file.read(n)
            self.seek(start + len(data))
            return data


def py_func(func, inp, Tout, stateful=True, name=None):
    """`tf.py_func` that gives ``func`` the strings of a tensor as ``str`` where they are text."""
    return tf.py_func(lambda *arguments: func(*map(_as_str, arguments)), inp, Tout, stateful, name)


def _as_str(value):
    """A value with its bytes as ``str``, in an array of objects each of them; bytes that are no text stay bytes."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value
    if getattr(value, "dtype", None) == np.dtype(object):
        texts = value.copy()
        texts.flat = [_as_str(item) for item in value.flat]
        return texts
    return value
