"""Batch-norm layers of a TensorFlow graph, found by their operations."""
