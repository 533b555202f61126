"""What Keras saves, read without Keras: ``.keras``, ``.weights.h5`` and the older ``.h5``."""

from .archive import HDF5, KERAS

__all__ = ["HDF5", "KERAS"]
