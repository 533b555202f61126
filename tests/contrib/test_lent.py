"""What `tf.contrib` lends from tf_slim, and from where TensorFlow has it today."""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow

from tf1bn import contrib
from tf1bn.contrib import _names, _slim
from tf1bn.legacy import run_script

tf = tensorflow.compat.v1
SCRIPTS = Path(__file__).parents[1] / "legacy" / "oldscripts"


def numbers(text):
    return [float(word) for word in re.findall(r"-?\d+\.\d+", text)]


@pytest.mark.slow
@pytest.mark.parametrize("python2", [False, True])
@pytest.mark.parametrize("name", ["slim_learning", "rnn_cells", "contrib_norms"])
def test_scripts_print_what_they_print_in_1_15_5(name, python2):
    """In a process of its own, which finds tf_keras before TensorFlow is imported."""
    pytest.importorskip("tf_keras")
    if name != "rnn_cells":
        pytest.importorskip("tf_slim")
    command = [sys.executable, "-m", "tf1bn", "run", *["--python2"] * python2, str(SCRIPTS / f"{name}.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    recorded = (SCRIPTS / f"{name}.tf-1.15.5.txt").read_text()
    assert re.sub(r"-?\d+\.\d+", "", done.stdout) == re.sub(r"-?\d+\.\d+", "", recorded)
    assert len(numbers(recorded)) >= 30
    # Five digits are printed, of values up to 20.
    np.testing.assert_allclose(numbers(done.stdout), numbers(recorded), atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["contrib_others", "contrib_sequences"])
def test_names_away_from_layers_print_what_they_print_in_1_15_5(name, capsys):
    """Hyperparameters, buckets, checks of shapes, embeddings, MNIST's files, queue runners, and V1 checkpoints.

    Then random fields, losses of sequences, and words as numbers.
    """
    pytest.importorskip("tf_slim")
    assert run_script(str(SCRIPTS / f"{name}.py")) == 0
    printed, recorded = capsys.readouterr().out, (SCRIPTS / f"{name}.tf-1.15.5.txt").read_text()
    assert re.sub(r"-?\d+\.\d+", "", printed) == re.sub(r"-?\d+\.\d+", "", recorded)
    np.testing.assert_allclose(numbers(printed), numbers(recorded), rtol=1e-6, atol=2e-5)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("layers.batch_norm", "tf1bn"),
        ("slim.nets.vgg.vgg_16", "tf_slim"),
        ("losses.absolute_difference", "tf_slim"),
        ("rnn.GRUCell", "tf.nn.rnn_cell.GRUCell"),
        ("slim.init_ops.zeros_initializer", "tf.zeros_initializer"),
        ("slim.summary.scalar", "tf.summary.scalar"),
        ("learn.python.learn.datasets.mnist.read_data_sets", "tf1bn"),
        ("slim", "tf1bn"),
        ("losses", "tf_slim"),
        ("rnn.NASCell", "tf.nn.rnn_cell.RNNCell"),
        ("rnn.LayerNormBasicLSTMCell", "tf.nn.rnn_cell.RNNCell"),
        ("crf.crf_decode", "tf1bn"),
        ("keras.initializers.he_normal", "tf.keras.initializers.he_normal"),
        ("framework.nest.is_sequence", "tf.nest.is_nested"),
    ],
)
def test_where_a_name_comes_from(path, source):
    assert contrib.provider(path) == source


@pytest.mark.parametrize(
    ("path", "use"),
    [
        ("slim.nets.nasnet", "a copy of the network's file"),
        ("layers.no_such", "replace it"),
        ("learn.DNNClassifier", "estimators have left"),
        ("tpu.TPUEstimator", "estimators have left"),
        ("image.rotate", "ImageProjectiveTransformV3"),
        ("opt.MovingAverageOptimizer", "ExponentialMovingAverage"),
        ("no_such", "replace it"),
    ],
)
def test_a_name_that_nobody_has_comes_from_nowhere(path, use):
    with pytest.raises(AttributeError, match=rf"^tf1bn does not provide `tf\.contrib\..*{use}"):
        contrib.provider(path)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("training.HParams('proto')", "ValueError: `hparam_def` is given"),
        ("training.bucket([], 0, 2, 2)", "ValueError: Expected at least one tensor"),
        (
            "training.bucket([tf.ones([])], 0, [2], 2)",
            "ValueError: `batch_size` has 1 items; it must have one for each of 2",
        ),
        (
            "training.bucket_by_sequence_length(1, [tf.ones([])], 2, [3, 3])",
            r"ValueError: `bucket_boundaries` is \[3, 3\]",
        ),
        (
            "training.bucket_by_sequence_length(1, [tf.ones([])], 2, [3.5])",
            r"TypeError: `bucket_boundaries` is \[3\.5\]",
        ),
        ("framework.with_shape([2.5], tf.ones([2]))", "ValueError: Invalid dtype float64"),
        ("framework.with_shape([[2]], tf.ones([2]))", "ValueError: Invalid rank 2"),
        ("framework.smart_cond('a', id, id)", "TypeError: `pred` must be a Tensor"),
        ("framework.reduce_sum_n([])", "ValueError: No tensors"),
        ("layers.embed_sequence([1], 3)", "ValueError: Must specify vocab size"),
        ("seq2seq.sequence_loss(tf.ones([2, 3]), 0, 0)", r"ValueError: `logits` has the shape \(2, 3\); it must"),
        (
            "seq2seq.sequence_loss(tf.ones([2, 3, 4]), tf.ones([2, 3]), tf.ones([2, 3]), sum_over_batch=True)",
            "ValueError: `average_across_batch` and `sum_over_batch` are both True",
        ),
        ("legacy_seq2seq.sequence_loss([1], [], [1])", "ValueError: `logits`, `targets` and `weights` have 1, 0 and 1"),
        (
            "learn.preprocessing.CategoricalVocabulary(support_reverse=False).reverse(0)",
            "ValueError: `support_reverse` is False",
        ),
        (
            "learn.datasets.mnist.read_data_sets('no')",
            "FileNotFoundError: 'no/train-images-idx3-ubyte.gz' is not there",
        ),
    ],
)
def test_what_is_wrong_is_said(call, error):
    with tf.Graph().as_default(), pytest.raises(Exception) as raised:  # noqa: PT011
        eval(f"contrib.{call}")
    assert re.match(error, f"{raised.type.__name__}: {raised.value}")


def test_random_fields_take_arrays():
    """As in 1.15.5, which gave these numbers."""
    scores = (np.sin(np.arange(24) * 1.7) * 2).reshape(2, 4, 3).astype(np.float32)
    transitions = np.cos(np.arange(9) * 1.3).reshape(3, 3).astype(np.float32)
    lengths = np.array([4, 2], np.int32)
    with tf.Graph().as_default(), tf.Session() as sess:
        norms = contrib.crf.crf_log_norm(scores, lengths, transitions)
        norms, (tags, best) = sess.run([norms, contrib.crf.crf_decode(scores, transitions, lengths)])
    np.testing.assert_allclose(norms, [7.8851237, 4.6796937], rtol=1e-6)
    np.testing.assert_allclose(best, [6.9824214, 4.025631], rtol=1e-6)
    assert tags.tolist() == [[1, 1, 2, 0], [0, 1, 0, 0]]


def best_tags(scores, transitions):
    """The best of all sequences of tags, by trying them, and its score."""
    found = {
        tags: sum(scores[t, tag] for t, tag in enumerate(tags))
        + sum(transitions[pair] for pair in itertools.pairwise(tags))
        for tags in itertools.product(range(scores.shape[1]), repeat=len(scores))
    }
    tags = max(found, key=found.get)
    return list(tags), found[tags]


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("known", [True, False])
def test_random_fields_decode_up_to_the_length_of_each_sequence(steps, known):
    """Beyond it the tags are 0, and of a length of 0 the first step is taken, as in the real 1.15.5."""
    random = np.random.default_rng(steps)
    scores, transitions = random.normal(size=(4, steps, 3)).astype("f4"), random.normal(size=(3, 3)).astype("f4")
    lengths = np.minimum([5, 3, 1, 0], steps).astype(np.int64)
    with tf.Graph().as_default(), tf.Session() as sess:
        fed = tf.placeholder(tf.float32, scores.shape if known else [None, None, 3]), tf.placeholder(tf.int64, [None])
        decoded = contrib.crf.crf_decode(fed[0], tf.constant(transitions), fed[1])
        tags, best = sess.run(decoded, dict(zip(fed, (scores, lengths), strict=True)))
        for i, length in enumerate(np.maximum(lengths, 1)):
            expected, score = best_tags(scores[i, :length], transitions)
            assert tags[i].tolist() == expected + [0] * (steps - length)
            assert best[i] == pytest.approx(score, rel=1e-5)
        for wrong in ([steps + 1, 1, 1, 1], [1, 1, 1, -1]):
            feeds = dict(zip(fed, (scores, wrong), strict=True))
            if steps == 1:
                assert sess.run(decoded, feeds)[0].tolist() == tags.tolist()
                continue
            with pytest.raises(tf.errors.InvalidArgumentError, match="`sequence_length` has lengths of which some are"):
                sess.run(decoded, feeds)


def test_several_tags_of_a_single_step_count_whatever_the_length():
    scores = np.array([[[1.0, 2.0]]] * 3, np.float32)
    bitmap, lengths = np.array([[[True, True]], [[True, False]], [[True, True]]]), np.array([1, 0, 0])
    with tf.Graph().as_default(), tf.Session() as sess:
        made = contrib.crf.crf_multitag_sequence_score(scores, bitmap, lengths, np.zeros((2, 2), np.float32))
        np.testing.assert_allclose(sess.run(made), [np.log(np.exp(1) + np.exp(2)), 1, np.log(np.exp(1) + np.exp(2))])


def test_smart_conditions():
    with tf.Graph().as_default(), tf.Session() as sess:
        smart_cond, value = contrib.framework.smart_cond, contrib.framework.smart_constant_value
        assert [value(pred) for pred in (True, 0, tf.constant(False))] == [True, False, False]
        pred = tf.placeholder(tf.bool, [])
        assert value(pred) is None
        assert smart_cond(1, lambda: "yes", lambda: "no") == "yes"
        out = smart_cond(pred, lambda: tf.constant(1), lambda: tf.constant(2))
        assert [sess.run(out, {pred: chosen}) for chosen in (True, False)] == [1, 2]
        assert contrib.framework.get_placeholders(tf.get_default_graph()) == [pred]


def test_scopes_reach_lent_layers_and_lent_nets_take_our_batch_norm():
    pytest.importorskip("tf_slim")
    slim = contrib.slim
    vgg = _slim.module("tf_slim.nets.vgg")
    assert vgg.layers.batch_norm is contrib.layers.batch_norm
    assert vgg.arg_scope is slim.arg_scope
    assert contrib.module("slim.nets.vgg").vgg_16 is vgg.vgg_16 is slim.nets.vgg.vgg_16
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [2, 3])
        with slim.arg_scope([slim.layer_norm, contrib.layers.conv1d], scope="mine"):
            slim.layer_norm(x)
        assert [v.op.name for v in slim.get_model_variables()] == ["mine/beta", "mine/gamma"]
        with pytest.raises(AttributeError, match=r"`tf\.contrib\.slim\.nets\.nasnet`.*a copy of the network's file"):
            slim.nets.nasnet  # noqa: B018
    assert "tf_slim" not in sys.modules or sys.modules["tf_slim"] is not _slim.module("tf_slim")


@pytest.mark.parametrize("path", [path for path, names in _names.TREE.items() if path])
def test_every_lent_name_is_there(path):
    pytest.importorskip("tf_slim")
    module = contrib.module(path)
    for name in dir(module):
        if not _target(module, name).startswith(("tf.nn.rnn_cell", "contrib._other.cells")):
            assert getattr(module, name) is not None, name


def _target(module, name):
    return module._names[name] if isinstance(module._names, dict) else ""


def test_without_tf_slim_its_names_say_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf_slim", None)
    monkeypatch.setattr(_slim, "_copies", {})
    with pytest.raises(
        AttributeError,
        match=r"^`tf\.contrib\.layers\.conv3d_transpose`: tf1bn lends this from the package tf_slim, which is not "
        r"installed: `pip install tf_slim`, or `tf1bn\[legacy\]`\.$",
    ):
        contrib._load("layers", _names.TREE["layers"], "conv3d_transpose")
    assert "conv3d_transpose" not in contrib.layers.__all__
    # Modules that are lent whole have only those below them then.
    assert dir(contrib.losses) == []
    assert "vgg" in dir(contrib.module("slim.nets"))
    assert "batch_norm" in contrib.layers.__all__
    # So a star still imports what is there.
    exec("from tf1bn.contrib.slim import *", {})


def test_the_cells_without_tf_keras(monkeypatch):
    monkeypatch.delattr(tf.nn, "rnn_cell", raising=False)
    with pytest.raises(AttributeError, match=r"is `tf\.nn\.rnn_cell\.GRUCell` today, which needs the package tf_keras"):
        contrib._load("rnn", _names.TREE["rnn"], "GRUCell")
