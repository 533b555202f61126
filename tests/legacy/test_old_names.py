"""Names of Python and its packages that have left since TensorFlow 1.x, as scripts get them from `tf1bn run`."""

import base64
import json
import re
import sys
import textwrap
import zlib
from pathlib import Path

import numpy as np
import pytest

from tf1bn.legacy import run_script
from tf1bn.legacy.old_names import table

SCIPY = json.loads((Path(__file__).parent / "scipy_misc-1.2.3.json").read_text())


@pytest.fixture
def play(tmp_path, capsys):
    """A function that runs a source, and returns its status, stdout and stderr."""

    def run(source, **options):
        script = tmp_path / "script.py"
        script.write_text(textwrap.dedent(source).lstrip(), encoding="utf-8")
        return run_script(str(script), **options), *capsys.readouterr()

    return run


@pytest.fixture
def installed(tmp_path_factory, monkeypatch):
    """A function that installs modules, of which each name is a path and each value a source."""
    before = set(sys.modules)
    folder = tmp_path_factory.mktemp("installed")
    monkeypatch.syspath_prepend(folder)

    def install(**sources):
        for name, source in sources.items():
            path = folder / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            for package in path.parents[: name.count("__")]:
                (package / "__init__.py").touch()
            path.write_text(source)

    yield install
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("scipy", "cv2", "skimage", "sklearn", "joblib", "theirs"):
            del sys.modules[name]


def lent(*names):
    verb = "1 old name was" if len(names) == 1 else f"{len(names)} old names were"
    return f"tf1bn run: {verb} lent: {', '.join(names)}.\n"


# Each line prints True, with what its name meant.
LINES = {
    "asyncio.get_event_loop": "import asyncio; asyncio.set_event_loop(None)\n"
    "loop = asyncio.get_event_loop(); print(loop is asyncio.get_event_loop()); loop.close()",
    "base64.decodestring": "import base64; print(base64.decodestring(b'YQ==\\n') == b'a')",
    "base64.encodestring": "from base64 import encodestring; print(encodestring(b'a') == b'YQ==\\n')",
    "fractions.gcd": "from fractions import gcd; print(gcd(12, 18) == 6)",
    "inspect.getargspec": "import inspect\n"
    "s = inspect.getargspec(lambda a, b=2, *c, **d: 0); print(s == (['a', 'b'], 'c', 'd', (2,)) and s.keywords == 'd')",
    "numpy.Inf": "import numpy as np; print(np.Inf > 1e300)",
    "numpy.Infinity": "import numpy as np; print(np.Infinity > 1e300)",
    "numpy.NAN": "import numpy as np; print(np.isnan(np.NAN))",
    "numpy.NINF": "import numpy as np; print(np.NINF < -1e300)",
    "numpy.NZERO": "import numpy as np; print(str(np.NZERO) == '-0.0')",
    "numpy.PINF": "import numpy as np; print(np.PINF > 1e300)",
    "numpy.PZERO": "import numpy as np; print(str(np.PZERO) == '0.0')",
    "numpy.asfarray": "import numpy as np; a = np.asfarray\n"
    "print([a(x, *t).dtype.name for x, t in (([1], ()), ([1], ('f4',)), ([1], (int,)))] == "
    "['float64', 'float32', 'float64'])",
    "numpy.bool8": "import numpy as np; print(np.bool8 is np.bool_)",
    "numpy.cast": "import numpy as np; print(np.cast['int32']([1.5, 2]).tolist() == [1, 2])",
    "numpy.clongfloat": "import numpy as np; print(np.clongfloat is np.clongdouble)",
    "numpy.in1d": "import numpy as np; print(np.in1d([[1, 2], [3, 4]], [2, 3]).tolist() == [False, True, True, False])",
    "numpy.issubclass_": "import numpy as np; print(np.issubclass_(bool, int))",
    "numpy.longcomplex": "import numpy as np; print(np.longcomplex is np.clongdouble)",
    "numpy.longfloat": "import numpy as np; print(np.longfloat is np.longdouble)",
    "numpy.mat": "import numpy as np; m = np.mat('1 2; 3 4')\n"
    "print((type(m), m.tolist()) == (np.matrix, [[1, 2], [3, 4]]))",
    "numpy.msort": "import numpy as np; print(np.msort([[3, 1], [1, 2]]).tolist() == [[1, 1], [3, 2]])",
    "numpy.sctypes": "import numpy as np; print(np.sctypes['float'][:2] == [np.float16, np.float32])",
    "numpy.singlecomplex": "import numpy as np; print(np.singlecomplex is np.complex64)",
    "numpy.typeDict": "import numpy as np; print(np.typeDict['float32'] is np.float32)",
    "numpy.NaN": "import numpy as np; print(np.isnan(np.NaN))",
    "numpy.alltrue": "import numpy as np; print(bool(np.alltrue([1, 2])))",
    "numpy.array": "import numpy as np; a = np.array([[1, 2], [3]])\n"
    "print((a.dtype, a.shape, np.array([1, 2]).dtype) == (object, (2,), 'int64'))",
    "numpy.asarray": "import numpy as np; print(np.asarray([(1, [2]), (3, [4, 5])]).shape == (2, 2))",
    "numpy.asscalar": "import numpy as np; print(type(np.asscalar(np.array([3]))) is int)",
    "numpy.bool": "import numpy; print(isinstance(True, numpy.bool))",
    "numpy.cfloat": "import numpy as np; print(np.dtype(np.cfloat).itemsize == 16)",
    "numpy.complex": "import numpy as np; print(np.complex is complex)",
    "numpy.complex_": "import numpy as np; print(np.dtype(np.complex_).itemsize == 16)",
    "numpy.cumproduct": "import numpy as np; print(list(np.cumproduct([2, 3])) == [2, 6])",
    "numpy.float": "from numpy import float; print(type(float('2')) is type(2.0))",
    "numpy.float_": "import numpy as np; print(np.float_ is np.float64)",
    "numpy.infty": "import numpy as np; print(np.infty > 1e300)",
    "numpy.int": "import numpy as np; print(np.zeros(2, np.int).dtype == 'int64' and np.int is int)",
    "numpy.int0": "import numpy as np; print(np.int0 is np.intp)",
    "numpy.long": "import numpy as np; print(np.long is int)",
    "numpy.object": "import numpy as np; print(np.array([{}], np.object)[0] == {})",
    "numpy.product": "import numpy as np; print(np.product([2, 3]) == 6)",
    "numpy.reshape": "import numpy as np; print(np.reshape([1, 2], newshape=(2, 1)).shape == (2, 1))",
    "numpy.round_": "import numpy as np; print(np.round_(2.6) == 3)",
    "numpy.row_stack": "import numpy as np; print(np.row_stack([[1], [2]]).shape == (2, 1))",
    "numpy.sometrue": "import numpy as np; print(bool(np.sometrue([0, 2])))",
    "numpy.str": "import numpy as np; print(np.str is str)",
    "numpy.string_": "import numpy as np; print(np.string_ is np.bytes_)",
    "numpy.trapz": "import numpy as np; print(np.trapz([1, 3]) == 2)",
    "numpy.unicode": "import numpy as np; print(np.unicode is str)",
    "numpy.unicode_": "import numpy as np; print(np.unicode_ is np.str_)",
    "PIL.Image.ANTIALIAS": "from PIL import Image; print(Image.ANTIALIAS == Image.LANCZOS == 1)",
    "PIL.Image.CUBIC": "from PIL import Image; print(Image.CUBIC == 3)",
    "PIL.Image.LINEAR": "import PIL.Image; print(PIL.Image.LINEAR == 2)",
    "string.letters": "import string; print(string.letters[25:27] == 'zA')",
    "string.lowercase": "import string; print(string.lowercase[::25] == 'az')",
    "string.maketrans": "import string; print('abc'.translate(string.maketrans('ab', 'xy')) == 'xyc')",
    "string.uppercase": "import string; print(string.uppercase[::25] == 'AZ')",
    "time.clock": "import time as t; before = t.clock(); sum(range(10 ** 5)); print(0 < t.clock() - before < 9)",
    "ndarray.itemset": "import numpy as np\na = np.zeros((2, 2)); a.itemset((0, 1), 5)\n"
    "a.itemset(3, 6); a.itemset(1, 0, 4); b = np.zeros((1, 1)); b.itemset(7)\n"
    "print((a.tolist(), b.tolist()) == ([[0, 5], [4, 6]], [[7]]))",
    "ndarray.newbyteorder": "import numpy as np; print(np.array([256], '<i2').newbyteorder()[0] == 1)",
    "ndarray.ptp": "import numpy as np; print(list(np.array([[1, 2], [7, 3]]).ptp(axis=0)) == [6, 1])",
    "ndarray.tostring": "import numpy as np; print(np.array([1], np.uint8).tostring() == b'\\x01')",
    "array.tostring": "import array; print(array.array('b', [1]).tostring() == b'\\x01')",
    "Dataset.value": "import h5py; file = h5py.File('x', 'w', driver='core', backing_store=False)\n"
    "file['a'] = [1.5, 2]; file['b'] = 3\nprint((list(file['a'].value), file['b'].value.item()) == ([1.5, 2], 3))",
    "Thread.isAlive": "import threading; print(threading.Thread().isAlive() is False)",
}
ABSTRACT = sorted(table.NAMES["collections"])


@pytest.mark.parametrize("name", LINES)
def test_an_old_name_is_lent_and_listed(play, name):
    assert play(LINES[name]) == (0, "True\n", lent(name))


def test_the_abstract_classes_of_collections(play):
    count = " + ".join(f"isinstance(collections.{name}, type)" for name in ABSTRACT)
    source = f"import collections\nfrom collections import Mapping\nprint(issubclass(dict, Mapping), {count})\n"
    status, out, err = play(source)
    assert (status, out) == (0, f"True {len(ABSTRACT)}\n")
    assert err == lent(*(f"collections.{name}" for name in ABSTRACT))


def test_every_name_of_the_standard_library_and_numpy_has_a_line():
    here = {f"{module}.{name}" for module, names in table.NAMES.items() for name in names}
    elsewhere = ("collections.", "scipy.", "skimage.", "sklearn.", "cv2.", "matplotlib.")
    assert {name for name in here if not name.startswith(elsewhere)} <= set(LINES)


def test_as_is_lends_nothing(play, monkeypatch):
    source = "import numpy as np\nx = np.int\n"
    status, _, err = play(source, as_is=True)
    assert status == 1
    assert "module 'numpy' has no attribute 'int'" in err
    assert "lent" not in err
    assert "has no attribute 'tostring'" in play("[].tostring()\n", as_is=True)[2]


def test_several_names_are_listed_once_each_and_those_not_used_are_not(play, tmp_path):
    (tmp_path / "ops.py").write_text("import numpy as np\nKIND = np.float\n")
    source = """
        import time, collections, string
        import numpy as np
        from ops import KIND
        for _ in range(3):
            np.int(2.5), time.time(), string.ascii_letters, collections.OrderedDict()
        print(np.__name__, np.__version__ == np.version.version, np.random.__name__, KIND is float)
        """
    assert play(source) == (0, "numpy True numpy.random True\n", lent("numpy.float", "numpy.int"))


def test_an_array_of_numbers_must_be_one(play):
    status, _, err = play("import numpy as np\nnp.array([[1.0, 2.0], [3.0]], np.float32)\n")
    assert (status, "inhomogeneous" in err, "lent" in err) == (1, True, False)


@pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.4.0", reason="until NumPy 2.3 an array of one number is a number"
)
@pytest.mark.parametrize("line", ["float(np.array([1.0]))", "'%d' % np.array([3])", "a[0] = np.array([2.0])"])
def test_what_to_do_about_an_array_of_one_number_is_said_after_the_traceback(play, line):
    status, _, err = play(f"import numpy as np; a = np.zeros(2)\n{line}")
    assert status == 1
    assert re.search(r"\n(Type|Value)Error: .*\ntf1bn run: until NumPy 2\.3 .*: write `x\.item\(\)` in .*\.\n$", err)


def test_nothing_is_said_of_other_errors(play):
    assert "tf1bn run" not in play("float('x')")[2] + play("'%d' % 'x'")[2]


def test_names_are_listed_after_an_error_too(play):
    status, _, err = play("import numpy as np\nnp.int('x')\n")
    assert status == 1
    assert err.endswith(f"ValueError: invalid literal for int() with base 10: 'x'\n{lent('numpy.int')}")


def test_installed_packages_and_their_modules_see_what_is_installed(play, installed):
    installed(theirs="import numpy, time\nHAS = hasattr(numpy, 'int'), hasattr(time, 'clock')\n")
    assert play("import theirs, numpy, time\nnumpy.int, time.clock\nprint(theirs.HAS)\n")[1] == "(False, False)\n"
    assert not hasattr(np, "int")


def test_what_a_script_puts_into_a_module_is_there_for_all(play, installed):
    """Scripts put names into modules for packages of their time, and replace `numpy.load`."""
    installed(theirs="import string\ndef get():\n    return string.added_by_this_test\n")
    source = """
        import string, theirs
        string.added_by_this_test = 3
        print(theirs.get(), string.added_by_this_test, "added_by_this_test" in dir(string))
        del string.added_by_this_test
        print(hasattr(string, "added_by_this_test"))
        """
    assert play(source) == (0, "3 3 True\nFalse\n", "")


def test_a_module_of_the_script_with_such_a_name_is_its_own(play, tmp_path):
    (tmp_path / "cv2.py").write_text("CV_AA = 'mine'\n")
    assert play("import cv2\nprint(cv2.CV_AA)\n") == (0, "mine\n", "")


def test_old_methods_keep_lines_and_what_is_there(play):
    source = """
        class Mine:
            def tostring(self, *, end):
                return "mine" + end
        print(Mine().tostring(end="!"))
        x = b"bytes".tostring()
        """
    status, out, err = play(source)
    assert (status, out) == (1, "mine!\n")
    assert err.splitlines()[1:] == [
        err.splitlines()[1],
        '    x = b"bytes".tostring()',
        "        ^^^^^^^^^^^^^^^^^^^",
        "AttributeError: 'bytes' object has no attribute 'tostring'",
    ]
    assert err.splitlines()[1].endswith("line 5, in <module>")


def test_the_value_of_anything_but_a_dataset_is_its_own(play):
    source = """
        import h5py, enum
        class Kind(enum.Enum):
            one = 1
        Kind.one.name, setattr(Kind, "kept", 2)
        print(Kind.one.value)
        h5py.File("x", "w", driver="core", backing_store=False).value
        """
    status, out, err = play(source)
    assert (status, out) == (1, "1\n")
    assert err.splitlines()[-1] == "AttributeError: 'File' object has no attribute 'value'"
    assert "lent" not in err


def test_an_argspec_that_could_not_be_is_refused(play):
    status, _, err = play("import inspect\ninspect.getargspec(lambda *, a: a)\n")
    assert status == 1
    assert "which has keyword-only arguments or annotations; use inspect.getfullargspec." in err


# `numpy.save(file, {"w": numpy.array([1.5, 2.5]), "name": "\xe9"})` of Python 2.7.18 and NumPy 1.16.6, compressed.
OF_PYTHON_2 = """
eNqb7BfqGxDJyFDGUK2eklqcXKRupaBe46+uo6Cell9UUpSYF59flJIKEnZLzClOBYoXZyQWpAL5Gpo6CrUKlAGuBqbkvNLcgkq95PyiVL3c0pySzMSi
osRKrvii1OT8vOKSotLkEq5CRogqrrwUiGwhkzdDayhjUntQIbOGN6MmVDqlpLIglauQJZTJ38KbwZsRKM2q4c0cyljj5+fn9R8IwIS3fUlSZ2whW20h
u0YoS15ibmohRyjjy1DG8gzGDITJnECTvZlaM4DGpcGM4wIbZ4NqHAPQuFABBjD4YQ+hWRxKkkoTS5L0AKYzaAI="""


def test_pickles_of_python_2_are_loaded(play, tmp_path):
    array = np.array({"w": 1}, dtype=object)
    np.save(tmp_path / "objects.npy", array)
    old = zlib.decompress(base64.b64decode(OF_PYTHON_2))
    (tmp_path / "old.npy").write_bytes(old)
    # Without the header of the format it is a pickle.
    (tmp_path / "plain.pkl").write_bytes(old[old.index(b"\n") + 1 :])
    np.savez(tmp_path / "objects.npz", array=array)
    np.savez(tmp_path / "plain.npz", array=np.ones(3))
    np.save(tmp_path / "plain.npy", np.ones(3))
    load = "import numpy as np\nr = np.load({!r})\nprint({})\n".format
    for file, shown, expected in [
        ("objects.npy", "r.item()['w']", "1"),
        ("old.npy", "r.item()['w'], ascii(r.item()['name'])", r"[1.5 2.5] '\xe9'"),
        ("plain.pkl", "r.item()['w']", "[1.5 2.5]"),
        ("objects.npz", "r['array'].item()['w']", "1"),
    ]:
        assert play(load(str(tmp_path / file), shown)) == (0, f"{expected}\n", lent("numpy.load")), file
    for file, shown in (("plain.npz", "r['array'].sum()"), ("plain.npy", "r.sum()")):
        assert play(load(str(tmp_path / file), shown)) == (0, "3.0\n", ""), file
    refused = f"import numpy as np\nnp.load({str(tmp_path / 'objects.npy')!r}, allow_pickle=False)\n"
    assert "Object arrays cannot be loaded when allow_pickle=False" in play(refused)[2]
    assert play(refused.replace("False", "True"))[:2] == (0, "")


def test_a_window_without_a_screen_is_a_picture(play, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    source = f"""
        import matplotlib
        matplotlib.use("TkAgg", warn=False)
        import matplotlib.pyplot as plt
        plt.switch_backend("Qt5Agg")
        plt.plot([1, 2])
        plt.savefig({str(tmp_path / "a.png")!r})
        print(matplotlib.get_backend().lower(), plt.cm.get_cmap("gray", 3)(1)[0])
        """
    status, out, err = play(source)
    assert (status, out) == (0, "agg 0.5\n")
    said, said_too, closing = err.splitlines()
    assert said == (
        "tf1bn run: there is no screen, so matplotlib draws for TkAgg into memory: `savefig` works, `show` does not."
    )
    assert "for Qt5Agg" in said_too
    assert closing + "\n" == lent("matplotlib.cm.get_cmap", "matplotlib.pyplot.switch_backend", "matplotlib.use")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert play("import matplotlib\nmatplotlib.use('pdf')\nmatplotlib.use('agg')\n") == (0, "", "")


@pytest.mark.parametrize(
    "imported", ["import scipy.misc as m", "from scipy import misc as m", "import scipy.misc\nm = scipy.misc"]
)
@pytest.mark.parametrize("left", [False, True])
def test_scipy_misc(play, installed, tmp_path, imported, left):
    """As it is today, empty, and when it has left altogether."""
    installed(scipy__special="factorial = 'of special'\n", **({} if left else {"scipy__misc": ""}))
    path = str(tmp_path / "a.png")
    source = f"""
        {imported.replace(chr(10), chr(10) + " " * 8)}
        import numpy as np
        m.imsave({path!r}, np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
        print(m.imread({path!r}).sum(), m.factorial)
        m.imfilter
        """
    status, out, err = play(source)
    assert (status, out) == (1, "66 of special\n")
    assert "has no attribute 'imfilter'" in err
    assert err.endswith(lent("scipy.misc.factorial", "scipy.misc.imread", "scipy.misc.imsave"))


def test_a_package_that_is_missing_is_missing(play):
    for line, name in (("import scipy.misc", "scipy"), ("from sklearn.cross_validation import KFold", "sklearn")):
        if name not in sys.modules:
            assert re.search(rf"No module named '{name}'\n$", play(line)[2]), line


def test_packages_whose_names_moved(play, installed):
    """scikit-learn, scikit-image and OpenCV with just the names of today."""
    installed(
        cv2="LINE_AA = 16\n",
        joblib="dump = 'dump'\n",
        sklearn__model_selection="KFold = 'KFold'\nGridSearchCV = 'GridSearchCV'\n",
        sklearn__externals="",
        sklearn__preprocessing="",
        sklearn__manifold="def TSNE(n_components=2, max_iter=None):\n    return n_components, max_iter\n",
        sklearn__impute="def SimpleImputer(**arguments):\n    return arguments\n",
        scipy__ndimage="def rotate(*arguments, **options):\n    return arguments, options\n",
        scipy__sparse__linalg="eigsh = 'eigsh'\n",
        skimage__measure="",
        skimage__filters="sobel = 'sobel'\n",
        skimage__metrics="""
def structural_similarity(*arguments, **options):
    return arguments, options
mean_squared_error, normalized_root_mse, peak_signal_noise_ratio = "mse", "nrmse", "psnr"
""",
    )
    source = """
        import cv2
        from sklearn.cross_validation import KFold
        from sklearn.externals import joblib
        from sklearn import grid_search
        from sklearn.preprocessing import Imputer
        from sklearn.manifold import TSNE
        from skimage.measure import compare_ssim, compare_psnr, compare_mse, compare_nrmse
        from scipy.sparse.linalg.eigen.arpack import eigsh
        import skimage.filter, numpy, scipy.ndimage
        print(eigsh)
        print(scipy.ndimage.rotate(1, numpy.array([-5]), cval=2), scipy.ndimage.rotate(1, 0.5))
        print(cv2.CV_AA, KFold, joblib.dump, grid_search.GridSearchCV, skimage.filter.sobel)
        print(compare_mse, compare_nrmse, compare_psnr)
        print(compare_ssim(1, 2, data_range=3), compare_ssim(1, 2, multichannel=True))
        print(Imputer(strategy="median"), TSNE(3, n_iter=300), TSNE(max_iter=5))
        Imputer(axis=1)
        """
    status, out, err = play(source)
    assert status == 1, err
    assert out.splitlines() == [
        "eigsh",
        "((1, -5), {'cval': 2}) ((1, 0.5), {})",
        "16 KFold dump GridSearchCV sobel",
        "mse nrmse psnr",
        "((1, 2), {'data_range': 3}) ((1, 2), {'channel_axis': -1})",
        "{'missing_values': nan, 'strategy': 'median', 'copy': True} (3, 300) (2, 5)",
    ]
    assert "ValueError: `axis` is 1; only columns are filled today" in err
    names = "cv2.CV_AA scipy.ndimage.rotate scipy.sparse.linalg.eigen.arpack skimage.filter "
    names += "skimage.measure.compare_mse skimage.measure.compare_nrmse "
    names += "skimage.measure.compare_psnr skimage.measure.compare_ssim sklearn.cross_validation "
    names += "sklearn.externals.joblib sklearn.grid_search sklearn.manifold.TSNE sklearn.preprocessing.Imputer"
    assert err.endswith(lent(*names.split()))


def test_lists_that_python_2_made_have_a_length(play):
    source = """
        words = map(str, [1, 2]); odd = filter(lambda n: n % 2, range(5)); d = {"a": 1}
        print len(words), odd[0], len(filter(None, words)), d.keys()[0], zip(words, words)[0][1]
        """
    assert play(source)[:2] == (0, "2 1 2 a 1\n")


# ---- the images of SciPy 1.2.3 ----


@pytest.mark.parametrize("case", SCIPY["cases"], ids=lambda case: case["call"])
def test_images_are_those_of_scipy(case, tmp_path):
    pytest.importorskip("PIL")
    from tf1bn.legacy.old_names import images

    arrays = {name: np.array(value["values"], value["dtype"]) for name, value in SCIPY["inputs"].items()}
    names = {name: getattr(images, name) for name in dir(images)} | arrays | {"np": np, "folder": str(tmp_path)}
    if "error" in case:
        with pytest.raises(ValueError, match="`"):
            eval(case["call"], names)
        return
    seen = np.array(eval(case["call"], names))
    assert (str(seen.dtype), list(seen.shape)) == (case["dtype"], case["shape"])
    # Pillow rounds a resized or rotated pixel otherwise than in 2019.
    np.testing.assert_allclose(seen.ravel(), case["values"], atol=case["atol"], rtol=1e-6)


def test_numbers_of_numpy_are_printed_without_their_type(play):
    source = "import numpy as np; print([np.float32(1.5), np.int64(2), np.bool_(True)])"
    assert play(source) == (0, "[1.5, 2, True]\n", "")
    today = f"{[np.float32(1.5), np.int64(2), np.bool_(True)]}\n"
    assert play(source, as_is=True)[1] == today
    assert ("np.float32(1.5)" in today) == (np.lib.NumpyVersion(np.__version__) >= "2.0.0")
