"""What functions of matplotlib, scikit-image and scikit-learn did that have moved, or that do less since."""

import inspect
import os
import sys

# What draws into a window; with any other name a script asked for a file.
_WINDOWS = ("gtk", "macosx", "nbagg", "qt", "tk", "webagg", "wx")


def use_backend(real, lent, backend=None, *args, warn=None, **kwargs):
    """`matplotlib.use` or `pyplot.switch_backend`; without a screen a window becomes a picture that nobody sees."""
    backend = kwargs.pop("arg", kwargs.pop("newbackend", backend))
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or not sys.platform.startswith("linux")
    if not screen and isinstance(backend, str) and backend.lower().startswith(_WINDOWS):
        lent(f"there is no screen, so matplotlib draws for {backend} into memory: `savefig` works, `show` does not")
        backend = "Agg"
    elif warn is not None:
        lent()
    return real(backend, *args, **kwargs)


def rotate(real, lent, input, angle, *args, **kwargs):
    """`scipy.ndimage.rotate`, whose angle may be an array of one number."""
    if getattr(angle, "shape", ()):
        lent()
        angle = angle.item()
    return real(input, angle, *args, **kwargs)


def compare_ssim(X, Y, *args, multichannel=False, **kwargs):
    """The structural similarity of two images; ``multichannel``: their last axis is that of channels."""
    from skimage.metrics import structural_similarity

    if multichannel:
        kwargs["channel_axis"] = -1
    return structural_similarity(X, Y, *args, **kwargs)


def Imputer(missing_values="NaN", strategy="mean", axis=0, verbose=0, copy=True):
    """`sklearn.impute.SimpleImputer` under its old name and with its old defaults.

    Raises:
      ValueError: ``axis`` is not 0; rows are no longer filled.
    """
    import numpy as np
    from sklearn.impute import SimpleImputer

    if axis != 0:
        raise ValueError(f"`axis` is {axis!r}; only columns are filled today, with 0: transpose the data.")
    missing_values = np.nan if missing_values == "NaN" else missing_values
    return SimpleImputer(missing_values=missing_values, strategy=strategy, copy=copy)


def dataset_value(dataset):
    """All of a `h5py.Dataset`, which was its ``value`` before h5py 3."""
    return dataset[()]


def tsne(real, lent, *args, **kwargs):
    """`sklearn.manifold.TSNE`, which took ``n_iter`` for what is ``max_iter`` today."""
    if "n_iter" in kwargs and "n_iter" not in inspect.signature(real).parameters:
        lent()
        kwargs["max_iter"] = kwargs.pop("n_iter")
    return real(*args, **kwargs)
