"""Which old names are lent: for each module the names that have left it, and where what they meant is today."""

_ABSTRACT = [
    "Awaitable",
    "Callable",
    "Container",
    "Coroutine",
    "Generator",
    "Hashable",
    "ItemsView",
    "Iterable",
    "Iterator",
    "KeysView",
    "Mapping",
    "MappingView",
    "MutableMapping",
    "MutableSequence",
    "MutableSet",
    "Sequence",
    "Set",
    "Sized",
    "ValuesView",
]
_OWN = "tf1bn.legacy.old_names"
_SELECTION = "sklearn.model_selection"

# For each module its old names, each with the path of what it means today.
NAMES = {
    "base64": {"encodestring": "base64.encodebytes", "decodestring": "base64.decodebytes"},
    "collections": {name: f"collections.abc.{name}" for name in _ABSTRACT},
    "cv2": {"CV_AA": "cv2.LINE_AA"},
    "fractions": {"gcd": "math.gcd"},
    "inspect": {"getargspec": f"{_OWN}.standard_library.getargspec"},
    "matplotlib.cm": {"get_cmap": "matplotlib.pyplot.get_cmap"},
    "numpy": {
        "Inf": "numpy.inf",
        "Infinity": "numpy.inf",
        "NAN": "numpy.nan",
        "NINF": f"{_OWN}.numpy_names.NINF",
        "NZERO": f"{_OWN}.numpy_names.NZERO",
        "NaN": "numpy.nan",
        "PINF": "numpy.inf",
        "PZERO": f"{_OWN}.numpy_names.PZERO",
        "alltrue": "numpy.all",
        "asfarray": f"{_OWN}.numpy_names.asfarray",
        "asscalar": f"{_OWN}.numpy_names.asscalar",
        "bool": "builtins.bool",
        "bool8": "numpy.bool_",
        "cast": f"{_OWN}.numpy_names.cast",
        "cfloat": "numpy.complex128",
        "clongfloat": "numpy.clongdouble",
        "complex": "builtins.complex",
        "complex_": "numpy.complex128",
        "cumproduct": "numpy.cumprod",
        "float": "builtins.float",
        "float_": "numpy.float64",
        "in1d": f"{_OWN}.numpy_names.in1d",
        "infty": "numpy.inf",
        "int": "builtins.int",
        "int0": "numpy.intp",
        "issubclass_": "builtins.issubclass",
        "long": "builtins.int",
        "longcomplex": "numpy.clongdouble",
        "longfloat": "numpy.longdouble",
        "mat": f"{_OWN}.numpy_names.mat",
        "msort": f"{_OWN}.numpy_names.msort",
        "object": "builtins.object",
        "product": "numpy.prod",
        "round_": "numpy.round",
        "row_stack": "numpy.vstack",
        "sctypes": f"{_OWN}.numpy_names.sctypes",
        "singlecomplex": "numpy.complex64",
        "sometrue": "numpy.any",
        "str": "builtins.str",
        "string_": "numpy.bytes_",
        "trapz": "numpy.trapezoid",
        "typeDict": "numpy.sctypeDict",
        "unicode": "builtins.str",
        "unicode_": "numpy.str_",
    },
    "PIL.Image": {
        "ANTIALIAS": "PIL.Image.Resampling.LANCZOS",
        "CUBIC": "PIL.Image.Resampling.BICUBIC",
        "LINEAR": "PIL.Image.Resampling.BILINEAR",
    },
    "scipy.misc": {
        **{
            name: f"{_OWN}.images.{name}"
            for name in ("bytescale", "fromimage", "imread", "imresize", "imrotate", "imsave", "toimage")
        },
        **{name: f"scipy.special.{name}" for name in ("comb", "factorial", "logsumexp")},
    },
    "scipy.ndimage": {"imread": f"{_OWN}.images.imread"},
    "skimage.measure": {
        "compare_mse": "skimage.metrics.mean_squared_error",
        "compare_nrmse": "skimage.metrics.normalized_root_mse",
        "compare_psnr": "skimage.metrics.peak_signal_noise_ratio",
        "compare_ssim": f"{_OWN}.packages.compare_ssim",
    },
    "sklearn.preprocessing": {"Imputer": f"{_OWN}.packages.Imputer"},
    "string": {
        "letters": "string.ascii_letters",
        "lowercase": "string.ascii_lowercase",
        "maketrans": "builtins.str.maketrans",
        "uppercase": "string.ascii_uppercase",
    },
    "time": {"clock": "time.process_time"},
}

# Modules that have left altogether, each with the module that has their names today; None: only those in `NAMES`.
MODULES = {
    "scipy.misc": None,
    "scipy.sparse.linalg.eigen.arpack": "scipy.sparse.linalg",
    "skimage.filter": "skimage.filters",
    "sklearn.cross_validation": _SELECTION,
    "sklearn.externals.joblib": "joblib",
    "sklearn.grid_search": _SELECTION,
    "sklearn.learning_curve": _SELECTION,
}

# Functions that are still there, but do less than they did: for each the path of a function that is called with the
# function itself, with a function to say that the old behaviour was used, and with the arguments.
FUNCTIONS = {
    "asyncio.get_event_loop": f"{_OWN}.standard_library.get_event_loop",
    "matplotlib.pyplot.switch_backend": f"{_OWN}.packages.use_backend",
    "matplotlib.use": f"{_OWN}.packages.use_backend",
    "numpy.array": f"{_OWN}.numpy_names.array",
    "numpy.asarray": f"{_OWN}.numpy_names.array",
    "numpy.load": f"{_OWN}.numpy_names.load",
    "numpy.reshape": f"{_OWN}.numpy_names.reshape",
    "scipy.ndimage.rotate": f"{_OWN}.packages.rotate",
    "sklearn.manifold.TSNE": f"{_OWN}.packages.tsne",
}

# Attributes that have left types of a package: the package, and the function that gives what they were. Only sources
# that import the package are changed.
ATTRIBUTES = {"value": ("h5py", f"{_OWN}.packages.dataset_value")}

# Methods that have left types of C, where nothing can be lent; calls of them in the script's source are changed.
METHODS = {
    "isAlive": "is_alive",
    "itemset": f"{_OWN}.numpy_names.itemset",
    "newbyteorder": f"{_OWN}.numpy_names.newbyteorder",
    "ptp": f"{_OWN}.numpy_names.ptp",
    "tostring": "tobytes",
}
