"""What TensorFlow lost in 1.0, as scripts get it from `tf1bn run`."""

import re
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tf1bn.legacy import before_1_0, run_script
from tf1bn.legacy.explain import names

SCRIPTS = Path(__file__).parent / "oldscripts"


@pytest.fixture
def play(tmp_path, capsys):
    """A function that runs a source, and returns its status, stdout and stderr."""

    def run(source, **options):
        script = tmp_path / "script.py"
        script.write_text(f"import tensorflow as tf\n{textwrap.dedent(source)}", encoding="utf-8")
        return run_script(str(script), **options), *capsys.readouterr()

    return run


@pytest.mark.slow
def test_names_and_orders_of_arguments_mean_what_they_meant_in_0_12_1(capsys):
    assert run_script(str(SCRIPTS / "before_1_0.py")) == 0
    printed, recorded = capsys.readouterr().out, (SCRIPTS / "before_1_0.tf-0.12.1.txt").read_text()
    number = re.compile(r"-?\d+\.\d+")
    assert number.sub("", printed) == number.sub("", recorded)
    values, expected = (np.array(number.findall(text), float) for text in (printed, recorded))
    assert len(expected) > 200
    np.testing.assert_allclose(values, expected, atol=2e-5)


@pytest.mark.parametrize(
    "source",
    [
        "print(hasattr(tf, 'pack'), hasattr(tf.train, 'SummaryWriter'), 'mul' in dir(tf))",
        """
        try:
            tf.image_summary
        except AttributeError:
            print(False, False, False)
        """,
        """
        try:
            from tensorflow import pack
        except ImportError:
            print(False, False, getattr(tf, "sub", False))
        """,
    ],
)
def test_a_script_that_asks_is_told_what_1_15_5_tells_it(play, source):
    assert play(source) == (0, "False False False\n", "")


def test_names_are_found_on_every_way_to_them(play):
    source = """
        from tensorflow import neg
        from tensorflow.python.ops import gen_nn_ops
        nn = tf.nn
        print(neg is tf.negative, nn.rnn is tf.nn.static_rnn)
        print(tf.image.per_image_whitening is tf.image.per_image_standardization, tf.inv is tf.reciprocal)
        print(gen_nn_ops._max_pool_grad is gen_nn_ops.max_pool_grad)
        """
    status, out, err = play(source)
    assert (status, out) == (0, "True True\nTrue True\nTrue\n")
    assert err.startswith("tf1bn run: 4 old names were lent: tf.image.per_image_whitening, tf.inv, tf.neg, tf.nn.rnn")


def test_as_is_lends_nothing(play):
    status, _, err = play("tf.train.SummaryWriter", as_is=True)
    assert status == 1
    assert err.endswith("it left in 1.0, and no release 1.x has it: use `tf.summary.FileWriter`.\n")
    assert "TypeError" in play("tf.concat(1, [[[1.0]], [[2.0]]])", as_is=True)[2]


def test_the_order_of_1_x_is_left_alone(play):
    source = """
        a, b = tf.concat([[1.0, 2.0], [3.0]], 0), tf.split([1.0, 2.0], 2)[1]
        c = tf.nn.sigmoid_cross_entropy_with_logits(labels=[1.0], logits=[0.0])
        d, e = tf.reverse([1.0, 2.0], [0]), tf.reverse([1.0, 2.0], [])
        f = tf.nn.sigmoid_cross_entropy_with_logits(None, [1.0], [0.0])
        g = tf.nn.softmax_cross_entropy_with_logits_v2([[1.0, 0.0]], [[0.0, 0.0]])
        h = tf.nn.sparse_softmax_cross_entropy_with_logits(None, [0], [[0.0, 0.0]])
        print(*tf.Session().run([a, b, c, d, e, f, g, h]))
        """
    half = "[0.6931472]"
    assert play(source) == (0, f"[1. 2. 3.] [2.] {half} [2. 1.] [1. 2.] {half} {half} {half}\n", "")


def test_a_script_has_its_own_names(play):
    source = """
        tf.pack, tf.train.SummaryWriter = "mine", "my own"
        print(tf.pack, tf.train.SummaryWriter)
        """
    assert play(source) == (0, "mine my own\n", "")


def test_an_argument_is_given_once(play):
    status, _, err = play("tf.concat(1, [[[1.0]]], concat_dim=0)")
    assert status == 1
    assert "TypeError: `concat_dim` is given twice, by its place and by its name.\n" in err


def test_every_name_has_a_successor_today():
    known = names.table()["modules"]
    for old, new in before_1_0.RENAMED.items():
        module, _, name = new.rpartition(".")
        assert name in known[module], new
        module, _, name = old.rpartition(".")
        assert name not in known.get(module, ()), old
        assert names.fate(old) == names.Fate("lent")
