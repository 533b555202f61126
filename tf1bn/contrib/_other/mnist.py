"""The MNIST reader of TF 1.15's tutorials and of ``tf.contrib.learn``: `read_data_sets`, for files that are there."""

import collections
import gzip
import os

import numpy as np
import tensorflow as _tf

tf = _tf.compat.v1
_FILES = [f"{name}.gz" for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")]
_FILES += [name.replace("train", "t10k") for name in _FILES]

Datasets = collections.namedtuple("Datasets", "train validation test")


class DataSet:
    """Images with their labels, given out in batches.

    Args:
      images: bytes [number, height, width, 1].
      labels: an array with a row for each image.
      fake_data: whether all images are the same one, for tests of a program.
      one_hot: whether the labels of fake data are rows of ten numbers.
      dtype: `tf.uint8`, or `tf.float32` for numbers from 0 to 1.
      reshape: whether an image becomes a row.
      seed: the seed of NumPy's random numbers, which shuffle; None for that of the graph, if it has one.
    """

    def __init__(self, images, labels, fake_data=False, one_hot=False, dtype=tf.float32, reshape=True, seed=None):
        of_graph, of_operation = tf.get_seed(seed)
        # NumPy's global generator: a script may draw from it next, as in 1.15.
        np.random.seed(of_graph if seed is None else of_operation)  # noqa: NPY002
        dtype = tf.as_dtype(dtype).base_dtype
        if dtype not in (tf.uint8, tf.float32):
            raise TypeError(f"Invalid image dtype {dtype!r}, expected uint8 or float32")
        self._fake = None
        if fake_data:
            self._fake = [1] * 784, [1] + [0] * 9 if one_hot else 0
        else:
            if len(images) != len(labels):
                raise ValueError(
                    f"`images` has {len(images)} rows, and `labels` has {len(labels)}; it must have as many."
                )
            images = images.reshape(len(images), images.shape[1] * images.shape[2]) if reshape else images
            images = np.multiply(images.astype(np.float32), 1.0 / 255.0) if dtype == tf.float32 else images
        self.num_examples = 10000 if fake_data else len(images)
        self.images, self.labels = images, labels
        self.epochs_completed = self._next = 0

    def next_batch(self, batch_size, fake_data=False, shuffle=True):
        """The next images and their labels; after the last one the next round begins, in a new order if ``shuffle``."""
        if fake_data:
            image, label = self._fake or ([1] * 784, 0)
            return [image] * batch_size, [label] * batch_size
        if self.epochs_completed == 0 and self._next == 0 and shuffle:
            self._shuffle()
        start, end = self._next, self._next + batch_size
        images, labels = self.images[start:end], self.labels[start:end]
        self._next = end
        if end > self.num_examples:
            self.epochs_completed += 1
            if shuffle:
                self._shuffle()
            self._next = end - self.num_examples
            images = np.concatenate([images, self.images[: self._next]])
            labels = np.concatenate([labels, self.labels[: self._next]])
        return images, labels

    def _shuffle(self):
        order = np.arange(self.num_examples)
        np.random.shuffle(order)  # noqa: NPY002
        self.images, self.labels = self.images[order], self.labels[order]


def read_data_sets(
    train_dir,
    fake_data=False,
    one_hot=False,
    dtype=tf.float32,
    reshape=True,
    validation_size=5000,
    seed=None,
    source_url="",
):
    """The data of MNIST in a folder: what is trained with, without its first ``validation_size`` images, and the rest.

    Args:
      train_dir: the folder with the four files; nothing is downloaded.
      source_url: not used.
      The others are those of `DataSet`.

    Raises:
      FileNotFoundError: a file is not there.
      ValueError: a file is none of MNIST, or ``validation_size`` is more than there are.
    """
    if fake_data:
        return Datasets(*(DataSet([], [], True, one_hot, dtype, seed=seed) for _ in range(3)))
    images, labels, test_images, test_labels = (_read(os.path.join(train_dir, name), one_hot) for name in _FILES)
    if not 0 <= validation_size <= len(images):
        raise ValueError(f"Validation size should be between 0 and {len(images)}. Received: {validation_size}.")
    parts = [(part[validation_size:], part[:validation_size]) for part in (images, labels)]
    (train, validation), (train_labels, validation_labels) = parts
    pairs = (train, train_labels), (validation, validation_labels), (test_images, test_labels)
    return Datasets(*(DataSet(*pair, dtype=dtype, reshape=reshape, seed=seed) for pair in pairs))


def load_mnist(train_dir="MNIST-data"):
    """`read_data_sets` with its defaults."""
    return read_data_sets(train_dir)


def _read(path, one_hot):
    """The images or the labels in a file."""
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"{path!r} is not there, and nothing is downloaded without being asked: put the four files of MNIST into "
            f"{os.path.dirname(path)!r}, {', '.join(_FILES)}."
        )
    print("Extracting", path)
    with gzip.open(path) as stream:
        data = stream.read()
    with_images = "idx3" in os.path.basename(path)
    size = 16 if with_images else 8
    header = np.frombuffer(data[:size], ">u4").tolist()
    if header[:1] != [2051 if with_images else 2049]:
        kind = "image" if with_images else "label"
        raise ValueError(f"Invalid magic number {header[0] if header else None} in MNIST {kind} file: {path}")
    values = np.frombuffer(data, np.uint8, int(np.prod(header[1:])), size)
    if with_images:
        return values.reshape(*header[1:], 1)
    return np.eye(10)[values] if one_hot else values
