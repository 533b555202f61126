"""Graphs of TensorFlow as their files have them, and the batch norms in them found by their operations.

Needs NumPy alone. The modules here look into any graph, live ones of TensorFlow too; ``files`` reads graphs.
"""
