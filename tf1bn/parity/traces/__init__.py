"""Parity of two recorded runs."""
