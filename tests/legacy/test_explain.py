"""`tf1bn run --explain`: what becomes of each name of TensorFlow that a script uses, told without running it."""

import json
import pathlib
import subprocess
import sys
import textwrap

import pytest
import tensorflow
from golden.record import tensorflow_names

from tf1bn.cli import main as cli
from tf1bn.errors import CommandError
from tf1bn.legacy.explain import explain, names


@pytest.fixture
def told(tmp_path, monkeypatch):
    """A function that explains a source and the files beside it; returns each name with its status."""
    monkeypatch.chdir(tmp_path)

    def tell(source, **beside):
        for name, content in {"script": source, **beside}.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(content))
        report = explain("script.py")
        assert report["tensorflow"].startswith("2.")
        return {row["name"]: row["status"] for row in report["names"]}

    return tell


@pytest.fixture
def bare(monkeypatch):
    """As if tf_keras and tf_slim were not installed."""
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    monkeypatch.setitem(sys.modules, "tf_slim", None)


ALIASES = """
    import tensorflow as tf, tensorflow.contrib.slim as slim, os.path
    import tensorflow.contrib
    import tensorflow.compat.v1 as tf1
    from tensorflow.contrib import layers as L, cloud
    from tensorflow.python.ops import rnn_cell_impl
    nn = tf.nn
    norm = L.batch_norm
    def build(x, rnn=tf.contrib.rnn):
        from tensorflow import losses
        act = nn.relu
        getattr(tf, "estimator").Estimator
        return slim.conv2d(act(norm(x)), 3), losses.log_loss, tf1.Session(config=tf.ConfigProto()), rnn.UGRNNCell
    class Net(object):
        loss = staticmethod(tf.losses.no_such_loss)
        def run(self):
            return lambda sess: sess.run(tensorflow.contrib.ffmpeg.decode_audio)
    tf.train.Saver.save.__doc__, tf.app.flags.FLAGS.anything.more
    """


def test_chains_and_aliases_are_followed(told):
    found = told(ALIASES)
    there = "tf tf.nn tf.nn.relu tf.losses tf.losses.log_loss tf.compat.v1 tf.compat.v1.Session tf.ConfigProto "
    there += "tf.train.Saver.save.__doc__ tf.app.flags.FLAGS.anything.more"
    lent = "tf.contrib tf.contrib.slim tf.contrib.slim.conv2d tf.contrib.layers tf.contrib.layers.batch_norm "
    lent += "tf.contrib.rnn"
    gone = "tf.contrib.cloud tf.estimator tf.estimator.Estimator tf.losses.no_such_loss tf.contrib.ffmpeg.decode_audio"
    expected = {
        name: status for status, group in (("there", there), ("lent", lent), ("gone", gone)) for name in group.split()
    }
    del expected["tf.estimator"]
    assert {name: status for name, status in found.items() if not name.startswith("tf.python")} == expected


def test_expressions_are_read_as_long_as_python_takes_them(told):
    calls = ".conv(tf.nn.relu)" * 700
    names = " + ".join(["tf.add"] * 1400)
    assert {"tf.nn.relu", "tf.add"} <= told(f"import tensorflow as tf\nnet = feed(){calls}\ntotal = {names}\n").keys()


def test_the_script_itself_may_be_imported(told, monkeypatch):
    # As it is under the command `tf1bn`.
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    assert told("import __main__\nimport tensorflow as tf\ntf.app.run(__main__.main)") == {
        "tf": "there",
        "tf.app.run": "there",
    }


def test_names_of_other_things_are_not_tensorflows(told):
    found = told(
        """
        import tensorflow as tf
        import numpy as layers
        def f(tf):
            return tf.nothing
        def g():
            tf = {}
            return tf.nothing
        def h():
            for tf in ():
                tf.nothing
        x = tf.constant(1)
        x.nothing, layers.nothing
        y = tf.nn
        y = 3
        y.nothing
        """
    )
    assert found == {"tf": "there", "tf.constant": "there", "tf.nn": "there"}


def test_modules_of_the_script_are_read_and_their_names_followed(told):
    found = told(
        """
        from common import *
        from pkg import ops
        import pkg.ops, common as c
        from pkg.ops import slim as s
        import os
        shorthand.ffmpeg, ops.tf.foo, pkg.ops.tf.bar, c.tf.baz, s.fc, os.nothing
        """,
        **{
            "common": "import tensorflow as tf\nshorthand = tf.contrib\n",
            "pkg/__init__": "",
            "pkg/ops": "from tensorflow.contrib import slim\nfrom .deeper import tf\n",
            "pkg/deeper": "import tensorflow as tf\n",
            "unused": "import tensorflow as tf\ntf.unused\n",
        },
    )
    gone = {name for name, status in found.items() if status == "gone"}
    assert gone == {"tf.contrib.ffmpeg", "tf.foo", "tf.bar", "tf.baz", "tf.contrib.slim.fc"}


def test_what_a_script_does_without_is_not_in_the_way(told, tmp_path):
    told(
        """
        try:
            from tensorflow.contrib import ffmpeg
        except ImportError:
            from tensorflow.contrib import layers as ffmpeg
        """
    )
    report = explain("script.py")
    assert report["ok"]
    assert [row["optional"] for row in report["names"]] == [True, False]
    assert cli.main(["run", "--explain", "script.py"]) == 0


def test_a_python_2_source_is_read(told):
    pytest.importorskip("fissix")
    found = told("import tensorflow as tf\nprint 'x', tf.no_such\nprint tf.nn.relu\n")
    assert found == {"tf": "there", "tf.no_such": "gone", "tf.nn.relu": "there"}
    places = {row["name"]: row["places"] for row in explain("script.py")["names"]}
    assert places["tf.nn.relu"] == [{"file": "script.py", "line": 3}]


@pytest.mark.parametrize(
    ("name", "status", "use"),
    [
        ("layers.dense", "needs", "`pip install tf_keras`, or `tf1bn[legacy]`"),
        ("layers.batch_normalization", "lent", None),
        ("layers.BatchNormalization", "lent", None),
        ("python.layers.normalization.BatchNorm", "lent", None),
        ("layers.no_such", "gone", "nor has `tf.compat.v1` of 2"),
        ("keras.layers.Dense", "needs", "tf_keras"),
        ("nn.rnn_cell.GRUCell", "needs", "tf_keras"),
        ("contrib.rnn.GRUCell", "needs", "tf_keras"),
        ("contrib.rnn.static_rnn", "lent", None),
        ("contrib.rnn.UGRNNCell", "gone", "tf1bn does not provide `tf.contrib.rnn.UGRNNCell`"),
        ("contrib.layers.layer_norm", "needs", "`pip install tf_slim`"),
        ("contrib.slim.nets.vgg.vgg_16", "needs", "tf_slim"),
        ("contrib.slim.nets.nasnet", "gone", "a copy of the network's file"),
        ("contrib.metrics.streaming_mean", "needs", "tf_slim"),
        ("contrib.framework.nest", "lent", None),
        ("estimator.Estimator", "gone", "call the model function yourself"),
        ("examples.tutorials.mnist.input_data.read_data_sets", "lent", None),
        ("examples.tutorials.mnist", "lent", None),
        ("examples.tutorials.mnist.mnist", "gone", "a copy of the example's file"),
        ("core.framework.graph_pb2.GraphDef", "there", None),
        ("core.no_such", "gone", "no `tensorflow.core.no_such`"),
        ("contrib.slim.init_ops.zeros_initializer", "lent", None),
        ("contrib.slim.init_ops.no_such", "gone", "nor has `tf.compat.v1` of 2"),
        ("python.ops.gen_nn_ops._max_pool_grad", "lent", None),
        ("python.ops.math_ops.mul", "there", None),
        ("python.ops.gen_nn_ops._no_such", "gone", "no `tensorflow.python.ops.gen_nn_ops`"),
        ("pywrap_tensorflow.NewCheckpointReader", "gone", "`tf.pywrap_tensorflow` has left TensorFlow"),
        ("VERSION", "there", None),
        ("__version__", "there", None),
        ("compat.v1.compat.v1.Session", "there", None),
        ("python.ops.array_ops.reshape", "there", None),
        ("python.ops.control_flow_ops.cond", "lent", None),
        ("python.ops.array_ops.no_such", "gone", "no `tensorflow.python.ops.array_ops`"),
        ("python.ops.no_such", "gone", "no `tensorflow.python.ops.no_such`"),
        ("python.framework.ops", "there", None),
    ],
)
def test_what_becomes_of_a_name(bare, name, status, use):
    fate = names.fate(name)
    assert fate.status == status
    assert fate.use is None if use is None else use in fate.use


def test_packages_that_are_installed_are_not_needed(monkeypatch):
    monkeypatch.setattr(names.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(names, "has_legacy_keras", lambda: True)
    statuses = [names.fate(n).status for n in ("layers.dense", "contrib.layers.layer_norm", "contrib.rnn.GRUCell")]
    assert statuses == ["there", "lent", "lent"]


def test_without_tensorflow_its_internal_modules_are_not_known(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert names.fate("python.ops.rnn").status == "unknown"
    assert names.fate("nn.relu").status == "there"


def test_the_table_is_that_of_tensorflow():
    if tensorflow.__version__ != names.table()["tensorflow"]:
        pytest.skip("the table is that of another release")
    here = tensorflow_names.names_of(tensorflow.compat.v1)
    # These are those of tf_keras, which has to be there before TensorFlow is imported.
    theirs = ("keras", "layers", "nn.rnn_cell")
    seen = {path: found for path, found in names.table()["modules"].items() if not path.startswith(theirs)}
    assert len(seen) > 80
    assert sum(map(len, seen.values())) > 2000
    for path, found in seen.items():
        bare = [
            {name.lstrip(".") for name in listed} - {"keras", "layers", "rnn_cell"} for listed in (found, here[path])
        ]
        assert bare[0] == bare[1], path


def test_the_command(told, capsys, bare, tmp_path):
    told("import tensorflow as tf\nfrom tensorflow.contrib.layers import layer_norm, unit_norm, batch_norm\ntf.seq\n")
    assert cli.main(["run", "--explain", "script.py", "--its-own"]) == 1
    gone, needs, lent, there, summary = capsys.readouterr().out.splitlines()
    version = names.table()["tensorflow"]
    assert (
        gone == f"gone    tf.seq (script.py:3): TensorFlow 1.15.5 has no `tf.seq`, nor has `tf.compat.v1` of {version}."
    )
    assert needs == (
        "needs   tf.contrib.layers.layer_norm (script.py:2), tf.contrib.layers.unit_norm (script.py:2): "
        "`pip install tf_slim`, or `tf1bn[legacy]`."
    )
    assert (lent, there) == ("lent    tf.contrib.layers.batch_norm", "there   tf")
    assert summary == (
        "script.py: 1 source, 5 names of TensorFlow: 1 there, 1 lent, 2 in packages that are not installed, 1 gone "
        f"(by the names of TensorFlow {version})."
    )
    assert cli.main(["run", "--explain", "--json", "-", "script.py"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["format"], report["version"], report["ok"]) == ("tf1bn-explain", 1, False)
    assert report["files"] == ["script.py"]
    assert report["names"][-1] == {
        "name": "tf.seq",
        "status": "gone",
        "use": f"TensorFlow 1.15.5 has no `tf.seq`, nor has `tf.compat.v1` of {version}",
        "optional": False,
        "places": [{"file": "script.py", "line": 3}],
    }


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--explain", "nowhere.py"], "`script` is 'nowhere.py', which could not be read: No such file"),
        (["--explain", "."], "could not be read: Is a directory"),
        (["--explain", "broken.py"], "broken.py, line 1: the source is neither Python 3 nor Python 2: "),
        (["--explain", "-m", "broken"], "`--explain` runs nothing and takes the path of a script"),
        (["--explain", "--record", "x", "broken.py"], "leave -m and --record out"),
        (["--json", "x.json", "broken.py"], "`--json` is what --explain writes"),
        (["--explain", "--json", "broken.py", "broken.py"], "--json"),
    ],
)
def test_what_cannot_be_explained(tmp_path, monkeypatch, capsys, arguments, error):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("def f(:\n")
    assert cli.main(["run", *arguments]) == 2
    assert error in capsys.readouterr().err
    assert (tmp_path / "broken.py").read_text() == "def f(:\n"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"def f(:\n", r"/own\.py, line 1: the source is neither Python 3 nor Python 2: "),
        (b"a = '\xff'\n", r"/own\.py, line .*: the source is neither Python 3 nor Python 2: "),
        (b"a = 1\0\n", r"/own\.py, line .*: the source is neither Python 3 nor Python 2: "),
        (b"a = " + b"-" * 50000 + b"1\n", r"/own\.py: the source is nested more deeply than Python can read: "),
        (None, r"/own\.py, which the script may import, could not be read: Permission denied\. Make it readable"),
    ],
)
def test_a_module_that_cannot_be_read_is_named(tmp_path, monkeypatch, content, error):
    (tmp_path / "script.py").write_text("import own\n")
    (tmp_path / "own.py").write_bytes(content or b"")
    if content is None:
        # Nobody may forbid a superuser anything.
        read = pathlib.Path.read_bytes

        def denied(path):
            if path.name == "own.py":
                raise PermissionError(13, "Permission denied", str(path))
            return read(path)

        monkeypatch.setattr(pathlib.Path, "read_bytes", denied)
    with pytest.raises(CommandError, match=error):
        explain(str(tmp_path / "script.py"))


def test_a_python_2_source_without_fissix_says_so(told, monkeypatch):
    monkeypatch.setitem(sys.modules, "fissix", None)
    with pytest.raises(CommandError, match="If it is Python 2, `pip install fissix`"):
        told("print 'x'\n")


def test_nothing_is_imported_or_run(tmp_path):
    (tmp_path / "script.py").write_text("import tensorflow as tf\nraise SystemExit(tf.float32)\n")
    source = "import sys; from tf1bn.legacy import explain as e; from tf1bn.legacy.explain import explain\n"
    source += f"assert explain({str(tmp_path / 'script.py')!r})['ok']\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert not {"tensorflow", "numpy", "fissix", "keras", "tf_keras"} & set(done.stdout.split())


def test_a_name_that_the_script_asks_for_is_not_in_the_way(told):
    told(
        """
        import tensorflow as tf
        if "concat_v3" in dir(tf):
            tf.concat_v3
        elif hasattr(tf, "packed"):
            tf.packed
        try:
            tf.nn.conv2d_transpose
        except AttributeError:
            tf.nn.deconv2d
        """
    )
    report = explain("script.py")
    assert {row["name"]: row["optional"] for row in report["names"] if row["status"] == "gone"} == {
        "tf.concat_v3": True,
        "tf.packed": True,
        "tf.nn.deconv2d": True,
    }
    assert report["ok"]
    told("import tensorflow as tf\ntry:\n    f = tf.gone_here\nexcept AttributeError:\n    f = tf.gone_too\n")
    report = explain("script.py")
    assert not report["ok"]
    assert [row["optional"] for row in report["names"]] == [False, True, False]


def test_a_name_that_the_script_puts_there_is_there(told):
    source = """
        import tensorflow as tf, other
        from tensorflow.contrib.learn.python.learn.datasets import mnist
        mnist.PIXELS = 28 * 28
        tf.my_layer = other.make
        tf.other_layer
        def use():
            return mnist.PIXELS, tf.my_layer.name, tf.given(1)
        """
    found = told(source, other="import tensorflow as tf\ndef make():\n    tf.given = max\n")
    assert {name for name, status in found.items() if status == "gone"} == {"tf.other_layer"}


def test_a_module_that_is_not_found_is_not_passed_over(told, capsys, tmp_path, monkeypatch):
    source = """
        import os, cPickle, numpy, tensorflow as tf, beside.inner, not_installed_anywhere.deep
        try:
            import optional_and_not_installed
        except ImportError:
            pass
        from elsewhere import ops
        ops.tf.gone_there
        """
    told(source, **{"beside/inner": ""})
    assert cli.main(["run", "--explain", "script.py"]) == 1
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("unread"))
    assert line == (
        "unread  elsewhere (script.py:7), not_installed_anywhere (script.py:2), "
        "optional_and_not_installed (script.py:4, which the script does without): not found here and so not "
        "read; install it, or put the script's folders on "
        "PYTHONPATH."
    )
    found = {row["module"]: row["optional"] for row in explain("script.py")["unread"]}
    assert found == {"elsewhere": False, "not_installed_anywhere": False, "optional_and_not_installed": True}
    (tmp_path / "lib").mkdir()
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'lib'}")
    found = told(source, **{"lib/elsewhere": "import deeper as ops\n", "lib/deeper": "import tensorflow as tf\n"})
    assert found["tf.gone_there"] == "gone"
    assert "elsewhere" not in [row["module"] for row in explain("script.py")["unread"]]


HERE = "os.path.dirname(os.path.abspath(__file__))"


@pytest.mark.parametrize(
    "adding",
    [
        "sys.path.append('lib/deep')",
        "sys.path.insert(0, './lib/deep/')",
        f"sys.path.append(os.path.join({HERE}, 'lib', 'deep'))",
        f"HERE = {HERE}\nLIB = os.path.join(HERE, 'lib')\nsys.path.append(LIB + '/deep')",
        "sys.path.insert(0, os.path.join(os.getcwd(), 'lib', os.curdir, 'deep'))",
        f"def add(at):\n    if at not in sys.path: sys.path.insert(0, at)\nadd(os.path.join({HERE}, 'lib/deep'))",
        "from setup_path import here",
    ],
)
def test_folders_that_a_script_adds_to_its_path_are_followed(adding, told):
    source = f"import os, sys\n{adding}\nfrom inner import tf\ntf.gone_there\n"
    beside = {"lib/deep/inner": "import tensorflow as tf\ntf.gone_inside\n"}
    beside["setup_path"] = "import os, sys\nhere = os.path.dirname(__file__)\nsys.path.append(here + '/lib/deep')\n"
    found = told(source, **beside)
    assert {name for name, status in found.items() if status == "gone"} == {"tf.gone_there", "tf.gone_inside"}
    assert explain("script.py")["unread"] == []


@pytest.mark.parametrize("adding", ["no_such", "sys.argv[1]", "0", "None + 'lib'", "LIB", "os.path.join(x, 'lib')"])
def test_folders_that_cannot_be_read_are_left(adding, told):
    source = f"import os, sys\nLIB = LIB\nsys.path.append({adding})\nsys.path.append()\nimport inner\n"
    told(source, **{"lib/inner": "import tensorflow as tf\n"})
    assert [row["module"] for row in explain("script.py")["unread"]] == ["inner"]


@pytest.mark.parametrize(
    "call",
    [
        "import_module('nets.' + name)",
        "importlib.import_module('nets.%s' % name)",
        "importlib.import_module('nets.{}'.format(name))",
        "__import__(f'nets.{name}', fromlist=['x'])",
        "importlib.import_module('nets' + '.' + name)",
        "importlib.import_module('nets.resnet')",
    ],
)
def test_modules_that_importlib_may_import_are_read(call, told, capsys):
    beside = {"nets/__init__": "", "nets/resnet": "import tensorflow as tf\ntf.gone_there\n", "nets/notes": ""}
    found = told(
        f"import importlib\nfrom importlib import import_module\ndef net(name):\n    return {call}\n", **beside
    )
    assert found["tf.gone_there"] == "gone"
    assert explain("script.py")["at_run_time"] == []


@pytest.mark.parametrize("call", ["importlib.import_module(name)", "__import__('elsewhere.' + name)"])
def test_modules_that_cannot_be_named_are_told(call, told, capsys):
    told(f"import importlib\ndef net(name):\n    return {call}\n")
    report = explain("script.py")
    assert [(row["call"], row["places"]) for row in report["at_run_time"]] == [
        (call, [{"file": "script.py", "line": 3}])
    ]
    assert report["ok"]
    cli.main(["run", "--explain", "script.py"])
    assert f"unread  {call} (script.py:3): the name is made at run time" in capsys.readouterr().out
