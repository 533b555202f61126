"""Batches and embeddings of sequences that TF 1.15 had in ``tf.contrib.data`` and ``tf.contrib.layers``."""

import tensorflow as _tf

from ...layers.graph_collections import builds_graph
from .._variables import model_variable

tf = _tf.compat.v1


def batch_and_drop_remainder(batch_size):
    """For `Dataset.apply`: batches of `batch_size` elements, without a smaller one at the end."""
    return lambda dataset: dataset.batch(batch_size, drop_remainder=True)


def padded_batch_and_drop_remainder(batch_size, padded_shapes, padding_values=None):
    """For `Dataset.apply`: batches of elements that are filled up to one shape, without a smaller one at the end."""
    return lambda dataset: dataset.padded_batch(batch_size, padded_shapes, padding_values, drop_remainder=True)


def sloppy_interleave(map_func, cycle_length, block_length=1):
    """For `Dataset.apply`: the elements of several datasets that `map_func` makes, in the order in which they come."""
    return tf.data.experimental.parallel_interleave(map_func, cycle_length, block_length, sloppy=True)


@builds_graph
def embed_sequence(
    ids,
    vocab_size=None,
    embed_dim=None,
    unique=False,
    initializer=None,
    regularizer=None,
    trainable=True,
    scope=None,
    reuse=None,
):
    """Vectors for the numbers in `ids` [batch, length], from the variable ``embeddings`` [vocab_size, embed_dim].

    Args:
      unique: whether each number is looked up once; the result is the same.

    Returns:
      A tensor [batch, length, embed_dim].

    Raises:
      ValueError: a new variable lacks `vocab_size` or `embed_dim`.
    """
    if not reuse and not (vocab_size and embed_dim):
        raise ValueError(
            "Must specify vocab size and embedding dimension when not reusing. "
            f"Got vocab_size={vocab_size} and embed_dim={embed_dim}"
        )
    with tf.variable_scope(scope, "EmbedSequence", [ids], reuse=reuse):
        shape = [vocab_size, embed_dim] if vocab_size and embed_dim else None
        embeddings = model_variable(
            "embeddings", shape, initializer=initializer, regularizer=regularizer, trainable=trainable
        )
        if not unique:
            return tf.nn.embedding_lookup(embeddings, ids)
        ids = tf.convert_to_tensor(ids)
        numbers, places = tf.unique(tf.reshape(ids, [-1]))
        looked_up = tf.gather(tf.nn.embedding_lookup(embeddings, numbers), places)
        found = tf.reshape(looked_up, tf.concat([tf.shape(ids), tf.shape(embeddings)[1:]], 0))
        found.set_shape(ids.shape.concatenate(embeddings.shape[1:]))
        return found
