"""Audit of the batch-norm variables in a checkpoint: TF1, Keras, PyTorch, safetensors and `.npz` files."""

from .audit import audit_checkpoint, open_checkpoint
from .formats.base import CheckpointError

__all__ = ["CheckpointError", "audit_checkpoint", "open_checkpoint"]
