"""``tf.contrib.crf``: linear-chain conditional random fields, as in TF 1.15.5.

A sequence of tags y over T steps has the score sum_t inputs[t, y_t] + sum_t transitions[y_t, y_{t+1}]; its log
likelihood is this score less the logarithm of the sum of exp(score) over all sequences. In all functions ``inputs`` are
[batch, time, tags], tags [batch, time] and lengths [batch]; what lies beyond the length of a sequence does not count.
"""

import numpy as np
import tensorflow

tf = tensorflow.compat.v1


def crf_unary_score(tag_indices, sequence_lengths, inputs):
    """The sum of ``inputs`` at the given tags, [batch]."""
    batch, time, tags = tf.unstack(tf.shape(inputs, out_type=tag_indices.dtype))
    first = tf.reshape(tf.range(batch * time) * tags, [batch, time])
    return _sum_of_steps(tf.gather(tf.reshape(inputs, [-1]), first + tag_indices), sequence_lengths)


def crf_binary_score(tag_indices, sequence_lengths, transition_params):
    """The sum of the transitions from each of the given tags to the next, [batch]."""
    tags = tf.shape(transition_params, out_type=tag_indices.dtype)[0]
    pairs = tag_indices[:, :-1] * tags + tag_indices[:, 1:]
    return _sum_of_steps(tf.gather(tf.reshape(transition_params, [-1]), pairs), sequence_lengths - 1)


def crf_sequence_score(inputs, tag_indices, sequence_lengths, transition_params):
    """The score of the given tags, [batch]."""
    unary = crf_unary_score(tag_indices, sequence_lengths, inputs)
    return unary + crf_binary_score(tag_indices, sequence_lengths, transition_params)


def crf_multitag_sequence_score(inputs, tag_bitmap, sequence_lengths, transition_params):
    """The logarithm of the sum of exp(score) over the tags that are true in ``tag_bitmap``, [batch]."""
    allowed = tf.where(tag_bitmap, inputs, tf.fill(tf.shape(inputs), tf.cast(-np.inf, inputs.dtype)))
    # Of a single step 1.15.5 does not look at the lengths.
    unseen = tf.equal(tf.shape(inputs)[1], 1) & tf.less(tf.cast(sequence_lengths, tf.int32), 1)
    lengths = tf.where(unseen, tf.ones_like(sequence_lengths), sequence_lengths)
    return crf_log_norm(allowed, lengths, transition_params)


def crf_log_norm(inputs, sequence_lengths, transition_params):
    """The logarithm of the sum of exp(score) over all sequences of tags, [batch]; 0 where a length is 0."""
    inputs, transition_params = map(tf.convert_to_tensor, (inputs, transition_params))
    sequence_lengths = tf.cast(sequence_lengths, tf.int32)

    def step(scores, unary):
        return unary + tf.reduce_logsumexp(scores[:, :, tf.newaxis] + transition_params, 1)

    norms = tf.reduce_logsumexp(_last_scores(inputs, sequence_lengths, step), 1)
    return tf.where(sequence_lengths <= 0, tf.zeros_like(norms), norms)


def crf_log_likelihood(inputs, tag_indices, sequence_lengths, transition_params=None):
    """The log likelihoods of the given tags, [batch], and the transitions: a new variable if none are given."""
    if transition_params is None:
        tags = inputs.shape.as_list()[2]
        transition_params = tf.get_variable("transitions", [tags, tags])
    score = crf_sequence_score(inputs, tag_indices, sequence_lengths, transition_params)
    return score - crf_log_norm(inputs, sequence_lengths, transition_params), transition_params


def crf_decode(potentials, transition_params, sequence_length):
    """The tags with the highest score, int32 and 0 beyond the length of each sequence, and that score, [batch].

    A run raises ``tf.errors.InvalidArgumentError`` for a length below 0 or above the number of steps, unless that is 1.
    """
    potentials, transition_params = map(tf.convert_to_tensor, (potentials, transition_params))
    time, tags = tf.shape(potentials)[1], potentials.shape.as_list()[2]
    sequence_length = tf.cast(sequence_length, tf.int32)
    right = (sequence_length >= 0) & (sequence_length <= time) | tf.equal(time, 1)
    message = "`sequence_length` has lengths of which some are below 0 or above the number of steps in `potentials`:"
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(right), [message, sequence_length, time], 64)]):
        sequence_length = tf.identity(sequence_length)
    pointers = tf.TensorArray(tf.int32, time - 1, element_shape=[None, tags])

    def forward(number, scores, pointers):
        candidates = scores[:, :, tf.newaxis] + transition_params
        inside = number < sequence_length
        # Beyond its end a sequence stays at its last tag.
        stay = tf.zeros_like(scores, tf.int32) + tf.range(tags)
        before = tf.where(inside, tf.argmax(candidates, 1, output_type=tf.int32), stay)
        scores = tf.where(inside, potentials[:, number] + tf.reduce_max(candidates, 1), scores)
        return number + 1, scores, pointers.write(number - 1, before)

    start = (1, potentials[:, 0], pointers)
    _, scores, pointers = tf.while_loop(lambda number, *_: number < time, forward, start)

    def backward(number, current, found):
        before = tf.gather(pointers.read(number), current, batch_dims=1)
        return number - 1, before, found.write(number, before)

    last = tf.argmax(scores, 1, output_type=tf.int32)
    found = tf.TensorArray(tf.int32, time, element_shape=last.shape).write(time - 1, last)
    found = tf.while_loop(lambda number, *_: number >= 0, backward, (time - 2, last, found))[2]
    inside = tf.sequence_mask(tf.maximum(sequence_length, 1), time, tf.int32)
    return tf.transpose(found.stack()) * inside, tf.reduce_max(scores, 1)


def viterbi_decode(score, transition_params):
    """The tags with the highest score for one sequence of arrays, a list, and that score.

    Args:
      score: an array [time, tags].
      transition_params: an array [tags, tags].
    """
    scores, pointers = score[0], []
    for unary in score[1:]:
        candidates = scores[:, np.newaxis] + transition_params
        pointers.append(candidates.argmax(0))
        scores = (unary + candidates.max(0)).astype(score.dtype)
    tags = [scores.argmax()]
    for before in reversed(pointers):
        tags.append(before[tags[-1]])
    return tags[::-1], scores.max()


def _sum_of_steps(values, lengths):
    """The sums over time of values [batch, time] up to the lengths, [batch]."""
    return tf.reduce_sum(values * tf.sequence_mask(lengths, tf.shape(values)[1], values.dtype), 1)


def _last_scores(inputs, lengths, step):
    """The scores [batch, tags] after the last step of each sequence; ``step`` makes them of those before."""

    def advance(number, scores):
        return number + 1, tf.where(number < lengths, step(scores, inputs[:, number]), scores)

    return tf.while_loop(lambda number, _: number < tf.shape(inputs)[1], advance, (1, inputs[:, 0]))[1]
