"""Files of PyTorch, read without PyTorch and without running anything of them."""

from .state_dicts import TORCH

__all__ = ["TORCH"]
