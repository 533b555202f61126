"""Audit of the batch-norm variables in a checkpoint of TF1, Keras or PyTorch, by their values alone."""

from ..errors import CheckpointError
from .audit import audit_checkpoint
from .formats.base import Checkpoint, Variable
from .opening import open_checkpoint

__all__ = ["Checkpoint", "CheckpointError", "Variable", "audit_checkpoint", "open_checkpoint"]
