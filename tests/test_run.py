"""Old scripts, unedited, as `tf1bn run` runs them.

The three in tests/oldscripts were run by the real TensorFlow 1.15.0 under Python 2.7, and what they printed is beside
them. The two listings are the article's as far as it is known: rebuilt from its description, with its arguments, names
and order, in Python 2 and with Chinese comments without a coding line; their letters are not the published ones. Their
input is random, so `np.random.uniform` is given the article's own numbers here, and they print its digits.
"""

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
from golden import listing

import tf1bn
from tf1bn import cli, diagnosis, oldscript, oldtensorflow, trace
from tf1bn.command import CannotWork

tf = tensorflow.compat.v1
SCRIPTS = Path(__file__).parent / "oldscripts"
GOLDEN = Path(__file__).parent / "golden" / "article"
pytestmark = pytest.mark.filterwarnings("default")
with_release = pytest.mark.skipif(not hasattr(tf1bn, "release"), reason="this tf1bn has the numbers of 1.15 alone")


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


@pytest.mark.parametrize("decay", [0, 1])
@pytest.mark.parametrize("release", ["1.15", *(pytest.param(name, marks=with_release) for name in ("1.4", "1.3"))])
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
    with pytest.raises(CannotWork, match=r"gan\.py is no Python 3 \(line 88: Missing paren.*`pip install fissix`"):
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
    with pytest.raises(CannotWork, match=r"`script` is 'project\.none', and there is no such module"):
        play(Path("project.none"), module=True)
    assert oldscript.run_script("project.train", ["x"], module=True) == 0


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


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("from tensorflow.contrib import rnn", r"ImportError: .*`tf\.contrib\.rnn`.*use tf\.nn\.rnn_cell"),
        ("import tensorflow.contrib.rnn", r"ModuleNotFoundError: .*`tf\.contrib\.rnn`"),
        ("from tensorflow.contrib.slim.nets import vgg", r"ModuleNotFoundError: .*`tf\.contrib\.slim\.nets`.*a copy"),
        ("from tensorflow.contrib.layers import layer_norm", r"ImportError: .*`tf\.contrib\.layers\.layer_norm`"),
        ("import tensorflow as tf; tf.contrib.seq2seq", r"AttributeError: .*`tf\.contrib\.seq2seq`"),
        ("import tensorflow as tf; tf.nothing", r"AttributeError: module 'tensorflow' has no attribute 'nothing'"),
        ("from tensorflow.examples.tutorials.mnist import input_data", r"ModuleNotFoundError: .*load MNIST with"),
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
    monkeypatch.setattr(oldtensorflow, "has_legacy_keras", lambda: False)
    err = play("import tensorflow as tf\ntf.layers.conv2d")[2]
    assert "AttributeError: `tf.layers.conv2d` needs the package tf_keras: `pip install tf_keras`" in err


def test_batch_normalization_of_layers(play, monkeypatch):
    source = "import tensorflow as tf\nprint(tf.layers.batch_normalization)\n"
    if not hasattr(tf1bn, "batch_normalization"):
        assert "This tf1bn has no `batch_normalization`" in play(source)[2]
    monkeypatch.setattr(tf1bn, "batch_normalization", "mine", raising=False)
    assert play(source)[:2] == (0, "mine\n")


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
    source = """
        import os, sys, logging, warnings, signal
        import local
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
    ],
    ids=["session", "interactive", "monitored", "several"],
)
def test_every_session_is_recorded(play, tmp_path, body, steps):
    path = str(tmp_path / "trace")
    status, _, err = play(textwrap.dedent(TRAINING) + textwrap.dedent(body), record=path)
    assert status == 0, err
    folders = [path, f"{path}.2"][: len(steps)]
    assert err.splitlines()[-len(steps) :] == [
        f"tf1bn run: {count} step{'s' * (count > 1)} of 1 layer recorded in {folder}."
        for count, folder in zip(steps, folders, strict=True)
    ]
    for folder, count in zip(folders, steps, strict=True):
        opened = trace.open(folder)
        assert opened.count_steps() == count
        (layer,) = diagnosis.diagnose(opened)
        assert layer.verdict == "ok"
    assert not os.path.exists(f"{path}.{len(steps) + 1}")


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
    assert (status, err) == (0, f"tf1bn run: no layer took part in any run of the script; {path} was not written.\n")
    assert not os.path.exists(path)


def test_where_nothing_can_be_recorded_is_said_before(play, tmp_path):
    for name in ("trace", "other.2"):
        (tmp_path / name).mkdir()
    for name, words in [
        ("trace", "there is .*/trace already"),
        ("other", r"there is .*/other\.2 already"),
        ("none/trace", "no folder can be made in"),
    ]:
        with pytest.raises(CannotWork, match=f"`--record` is .*{words}"):
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
        (["run", str(tmp_path)], "`script` is .*could not be read: Is a directory"),
        (["run", "--release", "2.0", str(script)], "`release` is '2.0'; accepted are"),
        (["run", "--record", str(tmp_path), str(script)], "`--record` is .*already"),
        (["run"], "the following arguments are required: SCRIPT"),
    ]:
        assert cli.main(arguments) == 2
        out, err = capsys.readouterr()
        assert not out
        assert re.match(rf"tf1bn run: {words}", err.replace("\n", " ")), err
        assert err.count("\n") == 1


def test_a_release_that_this_tf1bn_lacks(play, monkeypatch):
    monkeypatch.delattr(tf1bn, "release", raising=False)
    monkeypatch.setitem(tf1bn.__dict__, "_PUBLIC", {k: v for k, v in tf1bn._PUBLIC.items() if k != "release"})
    with pytest.raises(CannotWork, match=r"`--release` is '1\.3', and this tf1bn has the numbers of 1.15 alone"):
        play("", release="1.3")


OLD_LAYERS = """
import tensorflow as tf
x = tf.ones([2, 4, 4, 3])
y = tf.layers.conv2d(x, 2, 3, padding="same", kernel_initializer=tf.ones_initializer())
sess = tf.Session()
sess.run(tf.global_variables_initializer())
print y.name, sess.run(y)[0, 0, 0], [v.name for v in tf.global_variables()]
"""


@pytest.mark.skipif(not oldtensorflow.has_legacy_keras(), reason="tf_keras is not installed")
def test_layers_with_the_old_keras(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(OLD_LAYERS + "raise SystemExit(5)\n")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    environment.pop("TF_USE_LEGACY_KERAS", None)
    command = [sys.executable, "-m", "tf1bn", "run", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 5, done.stderr
    assert done.stdout == "conv2d/BiasAdd:0 [12. 12.] ['conv2d/kernel:0', 'conv2d/bias:0']\n"


def test_ctrl_c(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n")
    command = [sys.executable, "-m", "tf1bn", "run", str(script)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "KeyboardInterrupt"
    assert "Traceback" in done.stderr
