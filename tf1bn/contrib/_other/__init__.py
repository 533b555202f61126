"""Names of ``tf.contrib`` away from the layers that nobody else has today."""
