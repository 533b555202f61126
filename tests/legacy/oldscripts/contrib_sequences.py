"""Fields, losses, words and other names of contrib for sequences; it ran with TensorFlow 1.15.5."""
from __future__ import print_function
import os
import tempfile

import numpy as np
import tensorflow as tf
from tensorflow.contrib import crf, learn, legacy_seq2seq, seq2seq
from tensorflow.contrib.framework import nest
from tensorflow.contrib.learn.python.learn.preprocessing import VocabularyProcessor
from tensorflow.python.util import nest as internal


def numbers(*shape):
    count = int(np.prod(shape))
    return tf.constant((np.sin(np.arange(count) * 1.7) * 2).reshape(shape), tf.float32)


def show(name, *values):
    for value in sess.run(values):
        value = np.asarray(value)
        kind = "%.5f" if value.dtype.kind == "f" else "%d"
        print(name, value.dtype, value.shape, *[kind % number for number in value.ravel()])


sess = tf.Session()
transitions = numbers(3, 3) / 2
for time, lengths in ((5, [5, 3, 1, 0]), (1, [1, 1, 1, 0]), (2, [2, 1, 2, 0])):
    inputs, lengths = numbers(4, time, 3), tf.constant(lengths, tf.int64 if time == 2 else tf.int32)
    for kind in (tf.int32, tf.int64):
        tags = tf.cast(tf.reshape(tf.range(4 * time) % 3, [4, time]), kind)
        show("likelihood", crf.crf_log_likelihood(inputs, tags, lengths, transitions)[0])
    show("score", crf.crf_sequence_score(inputs, tags, lengths, transitions), crf.crf_unary_score(tags, lengths, inputs))
    show("norm", crf.crf_log_norm(inputs, lengths, transitions))
    if time > 1:
        show("binary", crf.crf_binary_score(tags, lengths, transitions))
        show("several", crf.crf_multitag_sequence_score(inputs, inputs > -1, lengths, transitions)[:3])
    decoded, best = crf.crf_decode(inputs, transitions, lengths)
    show("decoded", decoded, best)
    one, shape = sess.run(inputs)[0], decoded.shape
    tags, best = crf.viterbi_decode(one, sess.run(transitions))
    print("viterbi", *[int(tag) for tag in tags] + ["%.5f" % best, shape])
fed = tf.placeholder(tf.float32, [None, 3, 3])
with tf.variable_scope("field", initializer=tf.constant_initializer(0.5)):
    loss, made = crf.crf_log_likelihood(fed, tf.constant([[0, 1, 2]]), tf.constant([3]))
sess.run(tf.global_variables_initializer())
feed = {fed: sess.run(numbers(1, 3, 3))}
print(made.name, made.shape, *["%.5f" % value for value in sess.run(loss, feed)])
for gradient in sess.run(tf.gradients(loss, [fed, made]), feed):
    print("gradient", *["%.5f" % value for value in gradient.ravel()])
decoded, best = crf.crf_decode(fed, made, tf.constant([2]))
print("decoded", *[int(tag) for tag in sess.run(decoded, feed)[0]])

logits, targets = numbers(2, 3, 4), tf.constant([[0, 3, 1], [2, 2, 0]])
weights = tf.constant([[1.0, 0.5, 0.0], [1.0, 0.0, 0.0]])
for settings in ((True, True), (True, False), (False, True), (False, False)):
    show("average", seq2seq.sequence_loss(logits, targets, weights, *settings))
    show("sum", seq2seq.sequence_loss(logits, targets, weights, False, False, *settings))
    lists = [tf.unstack(value, axis=1) for value in (logits, targets, weights)]
    show("lists", legacy_seq2seq.sequence_loss(*(lists + list(settings))))
show("examples", legacy_seq2seq.sequence_loss_by_example(*lists), legacy_seq2seq.sequence_loss_by_example(*(lists + [False])))


def absolute(labels, logits):
    return tf.abs(tf.reduce_sum(logits, -1) - tf.cast(labels, tf.float32))


show("other", seq2seq.sequence_loss(logits, targets, weights, softmax_loss_function=absolute))
show("other", legacy_seq2seq.sequence_loss(*lists, softmax_loss_function=absolute))


class Cell(object):
    def __call__(self, inputs, state):
        factor = tf.get_variable("factor", [], initializer=tf.constant_initializer(0.5))
        state = tf.tanh(inputs * factor + state)
        return state * 2, state


outputs, state = legacy_seq2seq.rnn_decoder(tf.unstack(numbers(3, 2, 2)), numbers(2, 2), Cell())
looped, _ = legacy_seq2seq.rnn_decoder(tf.unstack(numbers(3, 2, 2)), numbers(2, 2), Cell(), lambda last, step: last - step, "loop")
sess.run(tf.global_variables_initializer())
show("decoder", outputs[2], state, looped[2])
print(sorted(variable.name for variable in tf.global_variables()))

texts = ["The cat isn't HERE, the CatFlap is", "the cat, the cat and the dog", "", "state-of-the-art dog 3.5"]
for frequency in (0, 1, 2):
    processor = VocabularyProcessor(5, min_frequency=frequency)
    rows = np.array(list(processor.fit_transform(texts)))
    print("words", rows.dtype, *rows.ravel())
    print(len(processor.vocabulary_), list(processor.reverse(rows)))
print(*np.array(list(processor.transform(["a dog the"]))).ravel())
path = os.path.join(tempfile.mkdtemp(), "words")
processor.save(path)
print(list(learn.preprocessing.VocabularyProcessor.restore(path).transform(["the dog"]))[0])
processor = learn.preprocessing.VocabularyProcessor(3, tokenizer_fn=lambda texts: (text.split(" ") for text in texts))
print(np.array(list(processor.fit_transform(texts[:2]))))
words = learn.preprocessing.CategoricalVocabulary("none")
for word in "b a b c a b 7".split():
    words.add(word)
words.trim(0, 3)
print([words.get(word) for word in "abc7z"], words.reverse(1), len(words))

print(learn.ModeKeys.TRAIN, learn.ModeKeys.EVAL, learn.ModeKeys.INFER)
print(nest.is_sequence([1]), internal.is_sequence((1,)), nest.is_sequence(3), nest.flatten({"b": 1, "a": [2, 3]}))
normal = tf.contrib.distributions.Normal(1.0, 2.0)
show("normal", normal.log_prob([0.0, 3.0]), normal.cdf(2.0), normal.entropy())
show("kl", tf.contrib.distributions.kl_divergence(normal, tf.contrib.distributions.Normal(0.0, 1.0)))
with tf.contrib.compiler.jit.experimental_jit_scope(False):
    show("jit", numbers(2) * 2)
print(tf.contrib.keras.initializers.he_normal() is not None)
