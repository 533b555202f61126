"""Parity of two checkpoints."""
