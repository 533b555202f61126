"""Type checkers read this file; at run time ``tf1bn.contrib`` makes the module, whose names are those of TF 1.x."""

from typing import Any

def __getattr__(name: str) -> Any: ...
