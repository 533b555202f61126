"""What is kept of ``tf.contrib.seq2seq``: the loss of sequences, as in TF 1.15.5."""

import tensorflow

tf = tensorflow.compat.v1


def sequence_loss(
    logits,
    targets,
    weights,
    average_across_timesteps=True,
    average_across_batch=True,
    sum_over_timesteps=False,
    sum_over_batch=False,
    softmax_loss_function=None,
    name=None,
):
    """The weighted cross entropy of logits [batch, time, symbols] and of targets and weights [batch, time].

    It is added up over time, over the batch or over both, and divided by the sum of the weights there if it is an
    average, or by how many weights are not 0 if it is a sum; what divides by 0 is 0.

    Raises:
      ValueError: a rank is another, or an average and a sum over one dimension are asked for.
    """
    for given, value, rank in (("logits", logits, 3), ("targets", targets, 2), ("weights", weights, 2)):
        if len(value.shape) != rank:
            raise ValueError(f"`{given}` has the shape {value.shape}; it must have {rank} dimensions.")
    for over, average, total in (
        ("timesteps", average_across_timesteps, sum_over_timesteps),
        ("batch", average_across_batch, sum_over_batch),
    ):
        if average and total:
            raise ValueError(f"`average_across_{over}` and `sum_over_{over}` are both True; one of them may be.")
    with tf.name_scope(name, "sequence_loss", [logits, targets, weights]):
        flat = tf.reshape(logits, [-1, tf.shape(logits)[2]])
        function = softmax_loss_function or tf.nn.sparse_softmax_cross_entropy_with_logits
        loss = function(labels=tf.reshape(targets, [-1]), logits=flat)
        loss = tf.reshape(loss * tf.reshape(weights, [-1]), tf.shape(logits)[:2])
        if average_across_timesteps and average_across_batch:
            return tf.div_no_nan(tf.reduce_sum(loss), tf.reduce_sum(weights))
        if sum_over_timesteps and sum_over_batch:
            return tf.div_no_nan(tf.reduce_sum(loss), tf.cast(tf.count_nonzero(weights), loss.dtype))
        if average_across_timesteps or average_across_batch:
            axis = [0] if average_across_batch else [1]
            return tf.div_no_nan(tf.reduce_sum(loss, axis), tf.reduce_sum(weights, axis))
        if sum_over_timesteps or sum_over_batch:
            axis = [0] if sum_over_batch else [1]
            return tf.div_no_nan(tf.reduce_sum(loss, axis), tf.cast(tf.count_nonzero(weights, axis), loss.dtype))
        return loss
