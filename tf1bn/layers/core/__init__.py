"""The core layer: ``tf.layers.batch_normalization`` and ``tf.layers.BatchNormalization`` of TF 1.15."""
