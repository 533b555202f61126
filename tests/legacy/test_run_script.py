"""Old scripts, unedited, as `tf1bn run` runs them.

The three in oldscripts were run by the real TensorFlow 1.15.0 under Python 2.7, and what they printed is beside
them. The two listings are the article's as far as it is known: rebuilt from its description, with its arguments, names
and order, in Python 2 and with Chinese comments without a coding line; their letters are not the published ones. Their
input is random, so `np.random.uniform` is given the article's own numbers here, and they print its digits.
"""

import atexit
import json
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
import tensorflow
from golden.record import listing
from modes import MODES

from tf1bn import trace
from tf1bn.cli import main as cli
from tf1bn.diagnosis import engine as diagnosis
from tf1bn.errors import CommandError
from tf1bn.layers.core import functional
from tf1bn.legacy import runner as oldscript
from tf1bn.legacy import tensorflow_module

tf = tensorflow.compat.v1
SCRIPTS = Path(__file__).parent / "oldscripts"
GOLDEN = Path(__file__).parents[1] / "golden" / "article"
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def play(tmp_path, capsys):
    """A function that runs a source, or a script of a path, and returns its status, stdout and stderr."""

    def run(source, *args, **options):
        script = source
        if not isinstance(source, Path):
            script = tmp_path / "script.py"
            script.write_text(textwrap.dedent(source), encoding="utf-8")
        status = oldscript.run_script(str(script), args, **options)
        return status, *capsys.readouterr()

    run.folder = tmp_path
    return run


def numbers(text):
    return [float(word) for word in re.findall(r"-?\d+\.\d*(?:e[-+]\d+)?|-?\d+e[-+]\d+", text)]


@pytest.mark.parametrize("name", ["gan", "cond", "slim_net"])
def test_scripts_print_what_they_print_in_1_15(play, name):
    status, out, _ = play(SCRIPTS / f"{name}.py")
    recorded = (SCRIPTS / f"{name}.tf-1.15.0.txt").read_text().replace("u'", "'")
    assert status == 0
    assert re.sub(r"[-\d.e]+", "", out) == re.sub(r"[-\d.e]+", "", recorded)
    assert len(numbers(out)) >= 25
    np.testing.assert_allclose(numbers(out), numbers(recorded), rtol=3e-5, atol=3e-7)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_scripts_print_it_in_every_mode(play, mode):
    """In the mode that a script asks for itself; a policy of Keras is none of it."""
    chosen = MODES[mode]
    switches = ["enable_resource_variables" if chosen.resource else "disable_resource_variables"]
    switches.append("enable_control_flow_v2" if chosen.control_flow_v2 else "disable_control_flow_v2")
    switches.append("enable_v2_tensorshape" if chosen.shapes == "numbers" else "disable_v2_tensorshape")
    source = (SCRIPTS / "slim_net.py").read_text(encoding="utf-8")
    prelude = "".join(f"tf.{switch}()\n" for switch in switches)
    assert source.count("import tensorflow as tf\n") == 1
    (Path(play.folder) / "nets").symlink_to(SCRIPTS / "nets")
    status, out, err = play(source.replace("import tensorflow as tf\n", "import tensorflow as tf\n" + prelude))
    recorded = (SCRIPTS / "slim_net.tf-1.15.0.txt").read_text().replace("u'", "'")
    assert status == 0, err
    np.testing.assert_allclose(numbers(out), numbers(recorded), rtol=3e-5, atol=3e-7)


@pytest.mark.parametrize("decay", [0, 1])
@pytest.mark.parametrize("release", ["1.15", "1.4", "1.3"])
def test_the_listings_print_the_digits_of_their_release(play, monkeypatch, decay, release):
    values = listing.recovered_inputs()[f"decay{decay}"].reshape(1, 4, 4, 1)
    monkeypatch.setattr(np.random, "uniform", lambda low, high, shape: values)
    status, out, _ = play(SCRIPTS / f"listing{decay + 1}.py", release=release)
    assert status == 0
    recording = json.loads((GOLDEN / f"tf-{release}.0-python-2.7.json").read_text())
    (run,) = (
        run
        for run in recording["runs"]
        if (run["decay"], run["input"], run["fused"]) == (decay, f"decay{decay}", "default")
    )
    assert re.findall("<.*>", out) == run["printed_variables"] * 3
    shown = [numbers(part) for part in re.split(r"<.*>|train|test", out)[1:]]
    train, test = run["phases"]
    states = [
        [phase[f"{name}_{when}"] for name in ("beta", "moving_mean", "moving_variance")]
        for phase, when in ((train, "before"), (train, "after"), (test, "after"))
    ]
    wanted = [*states[0], train["output"], *states[1], test["output"], *states[2]]
    for seen, expected in zip(shown, wanted, strict=True):
        np.testing.assert_allclose(seen, expected, rtol=3e-7, atol=3e-7)
    if decay == 0:
        # The article: testing prints the digits of training. From 1.4 on it is sqrt(15/16) of them.
        factor = 1 if release == "1.3" else np.sqrt(15 / 16)
        np.testing.assert_allclose(shown[7], np.array(shown[3]) * factor, rtol=2e-6)


def test_a_fissix_that_is_missing_is_asked_for(play, monkeypatch):
    monkeypatch.setitem(sys.modules, "fissix", None)
    with pytest.raises(CommandError, match=r"gan\.py is not Python 3 \(line 88: Missing paren.*`pip install fissix`"):
        play(SCRIPTS / "gan.py")


# ---- what Python does ----


@pytest.mark.parametrize(
    ("source", "status", "error"),
    [
        ("", 0, ""),
        ("import sys; sys.exit()", 0, ""),
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('no data')", 1, "no data\n"),
        ("raise KeyboardInterrupt", 130, "Traceback"),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("a = b c", 1, "SyntaxError: invalid syntax"),
        ("a = '\ud800'".encode("utf-8", "surrogatepass"), 1, "SyntaxError: (unicode error)"),
    ],
)
def test_status(play, tmp_path, source, status, error):
    script = tmp_path / "script.py"
    script.write_bytes(source if isinstance(source, bytes) else source.encode())
    seen = play(script)
    assert seen[0] == status
    assert error in seen[2]
    assert bool(seen[2]) == bool(error)


def test_ctrl_c_while_the_threads_of_the_script_are_waited_for(play):
    source = """
        import os, signal, sys, threading
        def interrupts():
            while sys._current_frames()[main].f_code.co_name not in ("join", "_wait_for_tstate_lock"):
                pass
            os.kill(os.getpid(), signal.SIGINT)
        main = threading.get_ident()
        threading.Thread(target=interrupts).start()
        """
    assert play(source) == (130, "", "")


CHAINED = {
    "script.py": """
        import helper, sys
        print(__name__, sys.argv[1:], __file__, sys.path[0], __package__, __spec__)
        def first():
            helper.fail(3)
        try:
            first()
        except ValueError as error:
            raise RuntimeError("later") from error
        """,
    "helper.py": "def fail(n):\n    if n:\n        fail(n - 1)\n    raise ValueError('first')\n",
}


def test_a_python_3_script_is_run_as_python_runs_it(play, tmp_path):
    for name, source in CHAINED.items():
        (tmp_path / name).write_text(textwrap.dedent(source))
    script = tmp_path / "script.py"
    real = subprocess.run([sys.executable, "-B", script, "a", "--b"], capture_output=True, text=True)
    status, out, err = play(script, "a", "--b")
    assert (status, out, err) == (real.returncode, real.stdout, real.stderr)
    assert "RuntimeError: later" in err


def test_tracebacks_of_python_2_show_its_own_lines(play, tmp_path):
    (tmp_path / "helper.py").write_bytes(
        "# 中文\nimport urllib2, cPickle\ndef fail(x):\n    print x\n    return 7 / x\n".encode()
    )
    status, out, err = play("import helper\nfor i in xrange(2, -1, -1):\n    helper.fail(i)\n")
    assert (status, out) == (1, "2\n1\n0\n")
    lines = err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1:-1] == [
        f'  File "{tmp_path}/script.py", line 3, in <module>',
        "    helper.fail(i)",
        f'  File "{tmp_path}/helper.py", line 5, in fail',
        "    return 7 / x",
    ]
    assert lines[-1].startswith("ZeroDivisionError: ")


def test_a_syntax_error_has_no_frame_of_what_compiles(play, tmp_path):
    (tmp_path / "broken.py").write_text("def f(:\n")
    assert play(tmp_path / "broken.py")[2].startswith(f'  File "{tmp_path}/broken.py", line 1\n')
    lines = play("import broken\n")[2].splitlines()
    assert [line for line in lines if line.startswith("  File")] == [
        f'  File "{tmp_path}/script.py", line 1, in <module>',
        f'  File "{tmp_path}/broken.py", line 1',
    ]


def test_a_python_2_script_is_python_2_in_all_its_modules(play, tmp_path):
    (tmp_path / "ops.py").write_text("def half(n):\n    return n / 2\nx = mine\n")
    source = "import __builtin__\n__builtin__.mine = 4\nfrom ops import half, x\nprint half(7), x\n"
    assert play(source)[:2] == (0, "3 4\n")
    # No Python 2 anywhere; and what the first script put into the builtins has gone.
    assert "NameError: name 'mine' is not defined" in play("from ops import half\nprint(half(7))\n")[2]
    (tmp_path / "ops.py").write_text("def half(n):\n    return n / 2\n")
    assert play("from ops import half\nprint(half(7))\n")[1] == "3.5\n"


def test_threads_and_exit_functions_of_the_script_end_before_it_does(play, tmp_path):
    source = """
        import atexit, os, sys, threading, time
        import tensorflow as tf
        def end(name):
            print(name, sys.argv[1:], os.getcwd() == "/")
        atexit.register(end, "second")
        atexit.register(lambda: 1 / 0)
        atexit.unregister(atexit.register(print, "never"))
        atexit.register(end, "first")
        def late():
            started.wait()
            time.sleep(0.2)
            with tf.Graph().as_default():
                try:
                    tf.contrib.layers.batch_norm(tf.ones([2, 4, 4, 3]), adjustment=None)
                except TypeError as error:
                    print(error)
        started = threading.Event()
        threading.Thread(target=late, name="late").start()
        os.chdir("/")
        started.set()
        sys.exit(3)
        """
    status, out, err = play(source, "a", release="1.4")
    assert status == 3
    # The thread builds with the release, which has no such argument.
    assert "TensorFlow 1.4 has no such argument" in out.splitlines()[0]
    assert out.splitlines()[1:] == ["first ['a'] True", "second ['a'] True"]
    assert "ZeroDivisionError" in err


def test_an_excepthook_of_the_script_is_asked(play):
    status, out, err = play("import sys\nsys.excepthook = lambda *e: print(e[0], e[2].tb_lineno)\n1 / 0\n")
    assert (status, out, err) == (1, "<class 'ZeroDivisionError'> 3\n", "")


def test_modules(play, tmp_path, monkeypatch):
    package = tmp_path / "project"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "train.py").write_text("import near, sys\nprint __name__, __package__, sys.argv[1:], near.NAME\n")
    (package / "near.py").write_text("NAME = __name__\n")
    monkeypatch.chdir(tmp_path)
    assert play(Path("project.train"), "x", module=True)[:2] == (0, "__main__ project ['x'] project.near\n")
    with pytest.raises(CommandError, match=r"`script` is 'project\.none', and there is no module of that name"):
        play(Path("project.none"), module=True)
    assert oldscript.run_script("project.train", ["x"], module=True) == 0
    with pytest.raises(CommandError, match=r"`script` is '\.\.train'; it must be the name of a module"):
        play(Path("..train"), module=True)
    (package / "__init__.py").write_text("import tensorflow as tf, sys\nif tf.executing_eagerly(): sys.exit('eager')\n")
    assert play(Path("project.train"), module=True)[0] == 0
    for line, error in [("raise ValueError(3)", "ValueError: 3"), ("import none", "No module named 'none'")]:
        (package / "__init__.py").write_text(f"{line}\n")
        status, _, err = play(Path("project.train"), module=True)
        assert (status, len(err.splitlines())) == (1, 4)
        assert error in err


# ---- what the script imports ----


def test_what_tensorflow_is(play):
    status, out, err = play(
        """
        import tensorflow as tf
        import tensorflow.compat.v1 as tf1
        import tensorflow.contrib.slim as slim
        import tensorflow.contrib.layers.python.layers.layers as deep
        from tensorflow.contrib import framework, layers
        from tensorflow.contrib.framework.python.ops.arg_scope import arg_scope
        from tensorflow.contrib.layers import *
        from tensorflow.python.framework import ops
        from tensorflow.python.training import moving_averages
        import tensorflow.python.ops.array_ops as array_ops
        from tensorflow.compat import as_bytes
        import tensorflow.contrib
        assert tf is tf1 and tensorflow is tf
        assert tf.contrib.slim is slim and framework.arg_scope is arg_scope is slim.arg_scope
        assert deep.batch_norm is batch_norm is layers.batch_norm is tensorflow.contrib.layers.batch_norm
        assert conv2d is slim.conv2d
        assert not tf.executing_eagerly() and ops.get_default_graph() is tf.get_default_graph()
        assert tf.get_variable("v", [1]).dtype.name == "float32_ref"
        print(tf.VERSION, tf.__version__, tf.placeholder(tf.float32, [2]).shape[0])
        """,
        release="1.15",
    )
    assert (status, out, err) == (0, "1.15.0 1.15.0 2\n", "")


def test_what_1_15_had_elsewhere(play):
    status, out, err = play(
        """
        import tensorflow as tf
        from tensorflow.train import Saver
        from tensorflow.nn import softmax_cross_entropy_with_logits as loss
        import tensorflow.losses as losses
        from tensorflow.python.framework import ops
        from tensorflow.python.ops import control_flow_ops
        from tensorflow.python.ops.control_flow_ops import cond
        from tensorflow.python.ops.array_ops import *
        import tensorflow.python.ops.math_ops as math_ops
        assert Saver is tf.train.Saver and loss is tf.nn.softmax_cross_entropy_with_logits and losses is tf.losses
        assert control_flow_ops.cond is cond is tf.cond and ops.Tensor is tf.Tensor
        assert tf.python.ops.math_ops.square is math_ops.square and reshape is tf.reshape
        x, w = tf.placeholder(tf.float32, [None, 4, 4, 3]), tf.ones([2, 2, 5, 3])
        batch = tf.shape(x)[0]
        for shape in ([4, 8, 8, 5], tf.TensorShape([4, 8, 8, 5]), [batch, 8, 8, 5], tf.placeholder(tf.int32, [4])):
            print(tf.nn.conv2d_transpose(x, w, output_shape=shape, strides=[1, 2, 2, 1]).shape)
        """
    )
    assert (status, err) == (0, "")
    # As printed by 1.15.5.
    assert out.splitlines() == ["(4, 8, 8, 5)", "(4, 8, 8, 5)", "(?, 8, 8, 5)", "(?, ?, ?, ?)"]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (
            "from tensorflow.contrib.rnn import UGRNNCell",
            r"ImportError: .*`tf\.contrib\.rnn\.UGRNNCell`.*use another cell of tf\.nn\.rnn_cell",
        ),
        ("import tensorflow.contrib.ffmpeg", r"ModuleNotFoundError: .*`tf\.contrib\.ffmpeg`"),
        (
            "from tensorflow.contrib.slim.nets import nasnet",
            r"ImportError: .*`tf\.contrib\.slim\.nets\.nasnet`.*",
        ),
        (
            "from tensorflow.contrib.slim.nets.nasnet import x",
            r"ModuleNotFoundError: .*`tf\.contrib\.slim\.nets\.nas.*a copy",
        ),
        ("from tensorflow.contrib.layers import fc", r"ImportError: .*`tf\.contrib\.layers\.fc`"),
        (
            "from tensorflow.contrib.opt import ScipyOptimizerInterface",
            r"ModuleNotFoundError: .*`tf\.contrib\.opt`.*: use tf.train",
        ),
        ("from tensorflow.contrib.metrics import set_ops", r"ImportError: .*`tf\.contrib\.metrics\.set_ops`"),
        ("import tensorflow as tf; tf.contrib.model_pruning", r"AttributeError: .*`tf\.contrib\.model_pruning`"),
        ("import tensorflow as tf; tf.nothing", r"AttributeError: module 'tensorflow' has no attribute 'nothing'"),
        ("from tensorflow.examples.tutorials.mnist import mnist", r"ImportError: .*a copy of the example's file"),
        ("import tensorflow as tf; tf.examples.other", r"AttributeError: .*a copy of the example's file"),
        (
            "import tensorflow as tf; tf.estimator",
            r"AttributeError: .*'tensorflow\.estimator'.*call the model function yourself",
        ),
        ("from tensorflow.models.rnn import ptb", r"ModuleNotFoundError: .*model collection"),
        ("from tensorflow.python.ops.nothing import x", r"ModuleNotFoundError: No module named 'tensorflow\.python"),
        ("from tensorflow.python.ops.array_ops import gone", r"ImportError: cannot import name 'gone'"),
        ("import tensorflow as tf; tf.layers.dense", r"AttributeError: `tf\.layers\.dense` needs "),
        ("from tensorflow.layers import dense", r"ImportError: `tf\.layers\.dense` needs "),
        ("import nowhere", r"ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_what_is_missing_is_one_sentence(play, line, error):
    status, _, err = play(line)
    assert status == 1
    assert re.match(error, err.splitlines()[-1]), err
    assert len(err.splitlines()) == 4 + ("^" in err)


def test_layers_without_the_old_keras(play, monkeypatch):
    monkeypatch.setattr(tensorflow_module, "has_legacy_keras", lambda: False)
    err = play("import tensorflow as tf\ntf.layers.conv2d")[2]
    assert "AttributeError: `tf.layers.conv2d` needs the package tf_keras: `pip install tf_keras`" in err


def test_batch_normalization_of_layers(play, monkeypatch):
    source = "import tensorflow as tf\nprint(tf.layers.batch_normalization)\n"
    monkeypatch.setattr(functional, "batch_normalization", "mine")
    assert play(source)[:2] == (0, "mine\n")


@pytest.mark.parametrize(
    "line",
    [
        "Layer = tf.layers.BatchNormalization",
        "from tensorflow.layers import BatchNormalization as Layer",
        "from tensorflow.python.layers.normalization import BatchNormalization as Layer",
        "from tensorflow.python.layers import normalization; Layer = normalization.BatchNorm",
        "from tensorflow.python.layers import layers; Layer = layers.BatchNormalization",
    ],
)
def test_batch_normalization_as_an_object(play, line):
    source = (
        f"import tensorflow as tf\n{line}\nlayer = Layer(name='bn')\n"
        "y = layer(tf.zeros([2, 3]), training=True)\nprint(y.name, layer.moving_mean.name, Layer.__module__)\n"
    )
    status, out, err = play(source)
    assert (status, out) == (0, "bn/batchnorm/add_1:0 bn/moving_mean:0 tf1bn.layers.core.layer_object\n"), err


def test_only_the_scripts_own_modules_meet_the_old_tensorflow(play, tmp_path, monkeypatch):
    seen = "import tensorflow\nVERSION = tensorflow.__version__\n"
    for name in ("installed", "added", "own/.venv/lib/site-packages", "own"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    (tmp_path / "installed" / "theirs.py").write_text(seen)
    (tmp_path / "added" / "mine.py").write_text(seen)
    (tmp_path / "own" / "beside.py").write_text(seen + "def f(x):\n    print x\n")
    (tmp_path / "own" / ".venv" / "lib" / "site-packages" / "venvs.py").write_text(seen)
    (tmp_path / "own" / "main.py").write_text(
        f"import sys\nsys.path += [{str(tmp_path / 'added')!r}, sys.path[0] + '/.venv/lib/site-packages']\n"
        "import theirs, mine, beside, venvs\n"
        "print(' '.join([theirs.VERSION, mine.VERSION, beside.VERSION, venvs.VERSION]))\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "installed")
    real = tensorflow.__version__
    for _ in range(2):
        assert play(tmp_path / "own" / "main.py") == (0, f"{real} 1.15.0 1.15.0 {real}\n", "")
        del sys.modules["theirs"], sys.modules["venvs"]
    assert not {"mine", "beside"} & set(sys.modules)
    assert not list(tmp_path.glob("own/__pycache__"))


# ---- what is put back ----


def state():
    root = logging.getLogger()
    from absl import flags

    return {
        "environment": dict(os.environ),
        "argv": list(sys.argv),
        "path": list(sys.path),
        "meta_path": list(sys.meta_path),
        "modules": set(sys.modules),
        "main": sys.modules["__main__"],
        "tensorflow": sys.modules["tensorflow"],
        "folder": os.getcwd(),
        "hook": sys.excepthook,
        "filters": list(warnings.filters),
        "handlers": (list(root.handlers), root.level),
        "levels": [logging.getLogger(name).level for name in ("tensorflow", "absl")],
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "exit": (atexit.register, atexit.unregister),
        "sigint": signal.getsignal(signal.SIGINT),
        "flags": set(flags.FLAGS),
        "eager": tensorflow.executing_eagerly(),
        "switches": (tf.resource_variables_enabled(), tf.control_flow_v2_enabled()),
        "shape": isinstance(tf.TensorShape([1])[0], int),
        "equality": hasattr(tf.constant(1) == tf.constant(1), "dtype"),
        "sessions": (tf.get_default_session(), tf.Session.run, tf.InteractiveSession.run),
        "operations": len(tf.get_default_graph().get_operations()) if not tensorflow.executing_eagerly() else None,
    }


def test_everything_is_put_back(play, tmp_path):
    (tmp_path / "local.py").write_text("x = 1\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "within.py").write_text("x = 1\n")
    source = """
        import os, sys, io, logging, warnings, signal
        import local
        import folder.within
        import tensorflow as tf
        os.environ["MINE"] = "1"
        del os.environ["PATH"]
        os.chdir("/")
        sys.argv.append("x")
        sys.path.append("/nowhere")
        sys.excepthook = print
        warnings.simplefilter("ignore")
        logging.basicConfig(level=logging.DEBUG)
        tf.app.flags.DEFINE_integer("steps_of_this_test", 3, "")
        tf.reset_default_graph()
        sess = tf.InteractiveSession()
        tf.InteractiveSession()
        print(tf.constant(2).eval(), tf.app.flags.FLAGS.steps_of_this_test)
        tf.logging.set_verbosity(tf.logging.FATAL)
        sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8")
        def main(_):
            sys.exit(4)
        tf.app.run()
        """
    # What the first run imports of tf1bn stays imported.
    play("import tensorflow as tf\ntf.Session().run(tf.constant(1))\n", record=str(tmp_path / "none"))
    before = state()
    for record in (None, str(tmp_path / "trace")):
        status, out, err = play(source, record=record)
        assert (status, out) == (4, "2 3\n"), err
        after = state()
        for name, value in before.items():
            assert after[name] == value, name


def test_a_graph_of_the_callers_is_left_alone(play):
    with tf.Graph().as_default() as graph:
        tf.constant(1.0, name="mine")
        assert play("import tensorflow as tf\nprint(tf.constant(1).name)\n")[1] == "Const:0\n"
        assert tf.get_default_graph() is graph
        assert [op.name for op in graph.get_operations()] == ["mine"]


# ---- recording ----

TRAINING = """
    import numpy as np
    import tensorflow as tf
    def build(scope):
        x = tf.placeholder(tf.float32, [None, 3], name=scope + "_x")
        y = tf.contrib.layers.batch_norm(x, decay=0.9, scope=scope, updates_collections=None)
        return x, y
    def batch(i):
        return np.random.RandomState(i).normal(3, 2, (16, 3)).astype(np.float32)
    """


@pytest.mark.parametrize(
    ("body", "steps"),
    [
        (
            """
            x, y = build("a")
            with tf.Session() as sess:
                sess.run(tf.global_variables_initializer())
                for i in range(3):
                    sess.run(y, feed_dict={x: batch(i)})
                y.eval({x: batch(3)})
            """,
            [4],
        ),
        (
            """
            x, y = build("a")
            sess = tf.InteractiveSession()
            tf.global_variables_initializer().run()
            y.op.run({x: batch(0)})
            """,
            [1],
        ),
        (
            """
            x, y = build("a")
            step = tf.train.get_or_create_global_step()
            bump = tf.assign_add(step, 1)
            with tf.train.MonitoredTrainingSession(hooks=[tf.train.StopAtStepHook(last_step=3)]) as sess:
                while not sess.should_stop():
                    sess.run([y, bump], {x: batch(1)})
            """,
            [3],
        ),
        (
            """
            for name in ("a", "b"):
                with tf.Graph().as_default(), tf.Session() as sess:
                    x, y = build(name)
                    sess.run(tf.global_variables_initializer())
                    for i in range(2):
                        sess.run(y, {x: batch(i)})
            with tf.Graph().as_default(), tf.Session() as sess:
                sess.run(tf.constant(1))
            """,
            [2, 2],
        ),
        (
            """
            x = tf.placeholder_with_default(batch(5), [16, 3])
            y = tf.contrib.layers.batch_norm(x, decay=0.9, scope="a", updates_collections=None)
            with tf.Session() as sess:
                sess.run(tf.global_variables_initializer())
                run, run_too = sess.make_callable(y, [x]), sess.make_callable([y], [x], accept_options=True)
                assert sess.make_callable(tf.constant(3))() == 3
                for i in range(2):
                    run(batch(i))
                # Without feeds TensorFlow does not call `run`.
                sess.make_callable(y)()
                assert run_too(batch(i), options=tf.RunOptions())[0].shape == (16, 3)
            """,
            [4],
        ),
    ],
    ids=["session", "interactive", "monitored", "several", "callable"],
)
def test_every_session_is_recorded(play, tmp_path, body, steps):
    path = str(tmp_path / "trace")
    status, _, err = play(textwrap.dedent(TRAINING) + textwrap.dedent(body), record=path)
    assert status == 0, err
    folders = [path, f"{path}.2"][: len(steps)]
    assert [line.rpartition(", ")[0] for line in err.splitlines()[-len(steps) :]] == [
        f"tf1bn run: {count} step{'s' * (count > 1)} of 1 layer recorded in {folder}"
        for count, folder in zip(steps, folders, strict=True)
    ]
    for folder, count in zip(folders, steps, strict=True):
        opened = trace.open(folder)
        assert opened.count_steps() == count
        (layer,) = diagnosis.diagnose(opened)
        assert layer.verdict == "ok"
    assert not os.path.exists(f"{path}.{len(steps) + 1}")


@pytest.mark.parametrize("when", ["early", "late"])
def test_the_trace_lies_where_the_user_stood(play, tmp_path, monkeypatch, when):
    """A relative path is that of the start, wherever the script goes before its session or after it."""
    monkeypatch.chdir(tmp_path)
    go = f"""
        import os
        os.makedirs("logs", exist_ok=True)
        x, y = build("a")
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            for i in range(4):
                if i == {0 if when == "early" else 2}:
                    os.chdir("logs")
                sess.run(y, {{x: batch(i)}})
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            sess.run(y, {{x: batch(5)}})
        """
    status, _, err = play(textwrap.dedent(TRAINING) + textwrap.dedent(go), record="run.trace")
    assert status == 0, err
    assert os.listdir(tmp_path / "logs") == []
    assert [len(list(trace.open(tmp_path / name))) for name in ("run.trace", "run.trace.2")] == [4, 1]
    assert os.getcwd() == str(tmp_path)


def test_what_is_said_about_a_recording_does_not_steer_a_terminal(play, tmp_path):
    name = "\x1b[2Jtrace\n"
    status, _, err = play("import tensorflow as tf\n", record=str(tmp_path / name))
    assert status == 2
    assert err.endswith("\\x1b[2Jtrace\\n was not written.\n")


def test_partial_runs_are_said_not_to_be_recorded(play, tmp_path):
    body = """
        x, y = build("a")
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            for fetched in (y, x + 1):
                handle = sess.partial_run_setup([fetched], [x])
                print(sess.partial_run(handle, fetched, {x: batch(0)}).shape)
        """
    status, out, err = play(textwrap.dedent(TRAINING) + textwrap.dedent(body), record=str(tmp_path / "trace"))
    assert (status, out) == (2, "(16, 3)\n(16, 3)\n")
    assert "tf1bn run: 1 step in `partial_run` cannot be recorded, and no trace has them.\n" in err


def test_a_thread_that_fills_a_queue_does_not_wait_for_the_layer_that_empties_it(play, tmp_path):
    body = """
        import threading
        queue = tf.FIFOQueue(4, [tf.float32], [[16, 3]])
        fed = tf.placeholder(tf.float32, [16, 3])
        fill = queue.enqueue(fed)
        y = tf.contrib.layers.batch_norm(queue.dequeue(), updates_collections=None)
        sess = tf.Session()
        sess.run(tf.global_variables_initializer())
        timer = threading.Timer(0.2, lambda: sess.run(fill, {fed: batch(0)}))
        timer.start()
        print(sess.run(y).shape)
        """
    source = textwrap.dedent(TRAINING) + textwrap.dedent(body)
    status, out, err = play(source, record=str(tmp_path / "trace"))
    assert (status, out) == (0, "(16, 3)\n"), err
    assert trace.open(str(tmp_path / "trace")).count_steps() == 1


def test_a_script_that_runs_no_layer_says_so(play, tmp_path):
    path = str(tmp_path / "trace")
    status, _, err = play("import tensorflow as tf\ntf.Session().run(tf.constant(1))\n", record=path)
    assert (status, err) == (2, f"tf1bn run: no layer took part in any run of the script; {path} was not written.\n")
    assert not os.path.exists(path)


def test_a_recording_has_limits(tmp_path, capfd):
    from tf1bn.cli import main as cli

    body = """
        x, y = build("a")
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            for i in range(8):
                sess.run([y, tf.get_collection("update_ops")], {x: batch(i)})
        """
    script, path = tmp_path / "script.py", tmp_path / "run.trace"
    script.write_text(textwrap.dedent(TRAINING) + textwrap.dedent(body))
    assert cli.main(["run", "--record", str(path), "--every", "2", "--steps", "7", str(script)]) == 0
    steps = list(trace.open(path))
    assert [step.number for step in steps] == [0, 2, 4, 6]
    kinds = [next(iter(step.layers.values())).inputs is not None for step in steps]
    assert kinds == [True, True, True, False]
    assert f"tf1bn run: 4 steps of 1 layer recorded in {path}, " in capfd.readouterr().err
    assert cli.main(["run", "--record", str(tmp_path / "other"), "--every", "0", str(script)]) == 2
    assert "`every` is 0; it must be a whole number, 1 or more." in capfd.readouterr().err


def test_where_nothing_can_be_recorded_is_said_before(play, tmp_path):
    for name in ("trace", "other.2"):
        (tmp_path / name).mkdir()
    for name, words in [
        ("trace", "there is .*/trace already"),
        ("other", r"there is .*/other\.2 already"),
        ("none/trace", "no folder can be made in"),
    ]:
        with pytest.raises(CommandError, match=f"`--record` is .*{words}"):
            play("print('never')", record=str(tmp_path / name))


def test_a_recording_that_fails_stops_and_the_script_goes_on(play, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trace.Writer, "add_step", full)
    body = """
        x, y = build("a")
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            for i in range(2):
                print(sess.run(y, {x: batch(i)}).shape)
            print(sess.run(tf.global_variables()[1]).round(3).tolist())
        """
    source = textwrap.dedent(TRAINING) + textwrap.dedent(body)
    status, out, err = play(source, record=str(tmp_path / "trace"))
    assert status == 2
    assert err.splitlines()[-1].startswith("tf1bn run: the recording ended with OSError: [Errno 28]")
    # Each batch moved the statistics once.
    assert (0, out, "") == play(source)


def test_errors_of_the_session_are_the_scripts(play, tmp_path):
    body = """
        x, y = build("a")
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            for fetched, feeds, error in ((None, {}, TypeError), (y, {}, tf.errors.InvalidArgumentError),
                                          ("nowhere:0", {}, (ValueError, KeyError)),
                                          (y, {x: [[1.0]]}, ValueError)):
                try:
                    sess.run(fetched, feeds)
                except error as seen:
                    print(type(seen).__name__)
        """
    source = textwrap.dedent(TRAINING) + textwrap.dedent(body)
    plain = play(source)
    recorded = play(source, record=str(tmp_path / "trace"))
    assert plain[:2] == recorded[:2]
    assert "tf1bn/" not in recorded[2].partition("tf1bn run:")[0]
    assert plain[1].split() == ["TypeError", "InvalidArgumentError", "ValueError", "ValueError"]


# ---- the command ----


def test_the_command(tmp_path, capsys):
    script = tmp_path / "script.py"
    script.write_text("import sys\nprint(sys.argv)\nsys.exit(7)\n")
    assert cli.main(["run", str(script), "--release", "x", "-m", "--", "--record"]) == 7
    assert capsys.readouterr().out == f"{[str(script), '--release', 'x', '-m', '--', '--record']}\n"
    for arguments, words in [
        (["run", str(tmp_path / "none.py")], "`script` is .*none.py', which could not be read: No such file"),
        (["run", str(tmp_path)], "`script` is .*could not be read: Is a directory. Give the script in it"),
        (["run", "-"], "`script` is '-'.* Write what comes from the standard input to a file"),
        (["run", "--release", "2.0", str(script)], "`release` is '2.0'; it must be"),
        (["run", "--record", str(tmp_path), str(script)], "`--record` is .*already"),
        (["run"], "the following arguments are required: SCRIPT"),
    ]:
        assert cli.main(arguments) == 2
        out, err = capsys.readouterr()
        assert not out
        assert re.match(rf"tf1bn run: {words}", err.replace("\n", " ")), err
        assert err.count("\n") == 1


OLD_LAYERS = """
import tensorflow as tf
x = tf.ones([2, 4, 4, 3])
y = tf.layers.conv2d(x, 2, 3, padding="same", kernel_initializer=tf.ones_initializer())
sess = tf.Session()
sess.run(tf.global_variables_initializer())
print y.name, sess.run(y)[0, 0, 0], [v.name for v in tf.global_variables()]
"""


@pytest.mark.slow
@pytest.mark.skipif(not tensorflow_module.has_legacy_keras(), reason="tf_keras is not installed")
def test_layers_with_the_old_keras(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(OLD_LAYERS + "raise SystemExit(5)\n")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    environment.pop("TF_USE_LEGACY_KERAS", None)
    command = [sys.executable, "-m", "tf1bn", "run", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 5, done.stderr
    assert done.stdout == "conv2d/BiasAdd:0 [12. 12.] ['conv2d/kernel:0', 'conv2d/bias:0']\n"


@pytest.mark.slow
def test_a_forked_process_and_ctrl_c(tmp_path):
    # A process that is forked after TensorFlow has started its threads hangs in its first run.
    body = """
        import multiprocessing, os, signal, time
        def child():
            signal.alarm(60)
            x, y = build("a")
            with tf.Session() as sess:
                sess.run(tf.global_variables_initializer())
                print(sess.run(y, {x: batch(0)}).shape, flush=True)
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join()
        print(process.exitcode)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
        """
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(TRAINING) + textwrap.dedent(body))
    command = [sys.executable, "-m", "tf1bn", "run", "--record", str(tmp_path / "trace"), str(script)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (130, "(16, 3)\n0\n")
    assert re.search(
        r"^tf1bn run: process \d+, which the script forked, runs a layer and is not recorded\.$", done.stderr, re.M
    )
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-2] == "KeyboardInterrupt"


@pytest.mark.slow
@pytest.mark.parametrize("verbose", [False, True])
def test_the_log_of_tensorflows_libraries_is_for_those_who_ask(tmp_path, verbose):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys, tensorflow as tf\n"
        "tf.test.is_built_with_cuda()\n"
        "with tf.Session() as sess: sess.run(tf.no_op())\n"
        "print(os.environ.get('TF_CPP_MIN_LOG_LEVEL'))\n"
        "sys.stderr.write('its own\\n')\n"
    )
    options = ["--verbose"] * verbose
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-m", "tf1bn", "run", *options, str(script)],
        capture_output=True,
        text=True,
        env={**environment, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert done.returncode == 0
    if verbose:
        # TensorFlow imports JAX where that is installed, and JAX sets 1.
        assert done.stdout in ("None\n", "1\n")
        assert "its own" in done.stderr
    else:
        assert (done.stdout, done.stderr) == ("3\n", "its own\n")


def test_operations_in_the_default_graph_are_no_obstacle(play):
    """An eager program that has put operations there, for whatever reason, is eager again after a script has run."""
    with tf.get_default_graph().as_default():
        tf.constant(1)
    try:
        assert play("import tensorflow as tf\nprint(tf.Session().run(tf.constant(1)))\n")[:2] == (0, "1\n")
        assert tf.executing_eagerly()
    finally:
        tf.reset_default_graph()
