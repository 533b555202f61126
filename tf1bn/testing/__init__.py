"""Assertions for tests of ports: `assert_parity` and `record_port`."""

from .assertions import assert_parity
from .ports import record_port

__all__ = ["assert_parity", "record_port"]
