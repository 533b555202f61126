"""What is kept of ``tf.contrib.legacy_seq2seq``: a decoder and losses of lists of steps, as in TF 1.15.5."""

import tensorflow

tf = tensorflow.compat.v1


def rnn_decoder(decoder_inputs, initial_state, cell, loop_function=None, scope=None):
    """The outputs of a cell for each of a list of inputs, and its last state.

    Args:
      decoder_inputs: tensors [batch, size].
      initial_state: the state of the cell to begin with.
      cell: a cell of `tf.nn.rnn_cell`.
      loop_function: if not None, a function of the last output and the number of the step, whose value is taken in the
        place of all inputs but the first.
      scope: a name, or a variable scope; "rnn_decoder" if None.
    """
    outputs, state = [], initial_state
    with tf.variable_scope(scope or "rnn_decoder") as variables:
        for number, inputs in enumerate(decoder_inputs):
            if loop_function is not None and outputs:
                with tf.variable_scope("loop_function", reuse=True):
                    inputs = loop_function(outputs[-1], number)
            if outputs:
                variables.reuse_variables()
            output, state = cell(inputs, state)
            outputs.append(output)
    return outputs, state


def sequence_loss_by_example(
    logits, targets, weights, average_across_timesteps=True, softmax_loss_function=None, name=None
):
    """The weighted cross entropies of lists of logits, targets and weights, one for each step, added up: [batch]."""
    if not len(logits) == len(targets) == len(weights):
        raise ValueError(
            f"`logits`, `targets` and `weights` have {len(logits)}, {len(targets)} and {len(weights)} items; they must "
            "have as many."
        )
    with tf.name_scope(name, "sequence_loss_by_example", [*logits, *targets, *weights]):
        function = softmax_loss_function or tf.nn.sparse_softmax_cross_entropy_with_logits
        losses = [
            function(labels=tf.reshape(target, [-1]), logits=logit) * weight
            for logit, target, weight in zip(logits, targets, weights, strict=True)
        ]
        loss = tf.add_n(losses)
        return loss / (tf.add_n(weights) + 1e-12) if average_across_timesteps else loss


def sequence_loss(
    logits,
    targets,
    weights,
    average_across_timesteps=True,
    average_across_batch=True,
    softmax_loss_function=None,
    name=None,
):
    """`sequence_loss_by_example` added up, and divided by the size of the batch if `average_across_batch`: a scalar."""
    with tf.name_scope(name, "sequence_loss", [*logits, *targets, *weights]):
        loss = sequence_loss_by_example(logits, targets, weights, average_across_timesteps, softmax_loss_function)
        loss = tf.reduce_sum(loss)
        return loss / tf.cast(tf.shape(targets[0])[0], loss.dtype) if average_across_batch else loss
