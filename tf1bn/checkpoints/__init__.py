"""Audit of the batch-norm variables in a checkpoint: TF1, Keras, PyTorch, safetensors and `.npz` files."""

from ..errors import CheckpointError
from .audit import audit_checkpoint, open_checkpoint

__all__ = ["CheckpointError", "audit_checkpoint", "open_checkpoint"]
