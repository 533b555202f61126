"""What functions and methods of NumPy did that have left it, or that do less since."""

import contextlib
import re
import warnings

import numpy as np

# What NumPy, and Python's "%d", say of an array in the place of a number.
_ONE_NUMBER = re.compile("^only 0-dimensional arrays can be converted|^%. format: .* is required, not numpy.ndarray$")


NINF, PZERO, NZERO = -np.inf, 0.0, -0.0

sctypes = {
    "int": [np.int8, np.int16, np.int32, np.int64],
    "uint": [np.uint8, np.uint16, np.uint32, np.uint64],
    "float": [np.float16, np.float32, np.float64, np.longdouble],
    "complex": [np.complex64, np.complex128, np.clongdouble],
    "others": [bool, object, bytes, str, np.void],
}


class _Casts:
    """`numpy.cast`, which had a function for each dtype."""

    def __getitem__(self, dtype):
        return lambda values: np.asarray(values).astype(dtype)


cast = _Casts()


def asfarray(a, dtype=np.float64):
    """The array ``a`` with a dtype of floats: float64 in the place of any other."""
    return np.asarray(a, dtype if np.issubdtype(dtype, np.inexact) else np.float64)


def in1d(ar1, ar2, *args, **kwargs):
    """For each element of ``ar1``, as a vector, whether it is in ``ar2``."""
    return np.isin(np.ravel(ar1), ar2, *args, **kwargs)


def mat(data, dtype=None):
    """`numpy.asmatrix`, without the warning that it may leave one day."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        return np.asmatrix(data, dtype)


def msort(a):
    """A copy of ``a`` that is sorted along its first axis."""
    return np.sort(a, axis=0)


def asscalar(a):
    """The only element of an array, as a Python number."""
    return np.asarray(a).item()


@contextlib.contextmanager
def numbers_without_type():
    """Makes numbers of NumPy in lists and the like print as until NumPy 1.26: "1.5" and not "np.float32(1.5)"."""
    with np.printoptions(**({"legacy": "1.25"} if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else {})):
        yield


def note_on(error):
    """What to do about an exception that old scripts raise since NumPy 2.4, a sentence; None about any other."""
    for each in (error, error.__cause__):
        if isinstance(each, TypeError) and _ONE_NUMBER.search(str(each)):
            return (
                "until NumPy 2.3 an array of one number was taken where Python needs a number: write `x.item()` in the "
                "place of such an array `x`"
            )
    return None


def array(real, lent, *args, **kwargs):
    """`numpy.array` or `asarray`, which until NumPy 1.24 made arrays of objects of rows that differ in length."""
    try:
        return real(*args, **kwargs)
    except ValueError as error:
        # Positions: object, dtype.
        if "inhomogeneous" not in str(error) or len(args) > 1 or kwargs.get("dtype") is not None:
            raise
    lent()
    return real(*args, **{**kwargs, "dtype": object})


def reshape(real, lent, *args, **kwargs):
    """`numpy.reshape`, whose argument `shape` was `newshape` until NumPy 2.1."""
    if "newshape" in kwargs:
        lent()
        kwargs["shape"] = kwargs.pop("newshape")
    return real(*args, **kwargs)


def load(real, lent, *args, **kwargs):
    """`numpy.load`, which read pickles until NumPy 1.16.3, here also those that Python 2 wrote."""
    # Positions: file, mmap_mode, allow_pickle, fix_imports, encoding.
    if len(args) < 3 and "allow_pickle" not in kwargs:
        kwargs["allow_pickle"] = True
    if len(args) < 5 and "encoding" not in kwargs:
        kwargs["encoding"] = "latin1"
    loaded = real(*args, **kwargs)
    if isinstance(loaded, np.lib.npyio.NpzFile):
        pickled = any(map(_has_objects, map(loaded.zip.open, loaded.zip.namelist())))
    else:
        pickled = not isinstance(loaded, np.ndarray) or loaded.dtype.hasobject
    if pickled:
        lent()
    return loaded


def _has_objects(stream):
    """Whether a file in the .npy format holds objects of Python."""
    with stream:
        try:
            version = np.lib.format.read_magic(stream)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            return version in read and read[version](stream)[2].hasobject
        except ValueError:
            return False


def itemset(array, *args):
    """Set one element of an array to the last argument; a single number before it counts along all axes.

    Raises:
      ValueError: there is no argument, or no index for an array of several elements.
    """
    if not args:
        raise ValueError("itemset must have at least one argument")
    *index, value = args
    if not index and array.size != 1:
        raise ValueError("can only convert an array of size 1 to a Python scalar")
    if len(index) == 1 and not isinstance(index[0], tuple):
        array.flat[index[0]] = value
    else:
        array[index[0] if len(index) == 1 else tuple(index) or ...] = value


def newbyteorder(array, new_order="S"):
    """The same memory, read in another byte order."""
    return array.view(array.dtype.newbyteorder(new_order))


def ptp(array, axis=None, out=None, keepdims=False):
    """The range of the values along an axis."""
    return np.ptp(array, axis, out, keepdims)
