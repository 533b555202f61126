"""The batch-norm layers of TF 1.x on today's TensorFlow: `tf.contrib.layers.batch_norm` and the core layer."""
