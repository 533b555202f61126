"""The names that ``__init__.py`` loads when they are used. Tensors, and all else of TensorFlow, are Any."""

from collections.abc import Callable, Sequence
from typing import Any

from . import article as article
from . import checker as checker
from . import checkpoints as checkpoints
from . import cluster as cluster
from . import contrib as contrib
from . import diagnosis as diagnosis
from . import errors as errors
from . import graphs as graphs
from . import legacy as legacy
from . import oldscript as oldscript
from . import parity as parity
from . import recalibration as recalibration
from . import recorders as recorders
from . import releases as releases
from . import reproduce as reproduce
from . import testing as testing
from . import trace as trace
from .layers.arg_scopes import arg_scope as arg_scope
from .layers.release_scope import release as release
from .recalibration import recalibrate as recalibrate
from .recorders.session import Recorder as Recorder

__version__: str
__all__: list[str]

def batch_norm(
    inputs: Any,
    decay: Any = 0.999,
    center: bool = True,
    scale: bool = False,
    epsilon: float = 0.001,
    activation_fn: Callable[[Any], Any] | None = None,
    param_initializers: dict[str, Any] | None = None,
    param_regularizers: dict[str, Any] | None = None,
    updates_collections: Any = "update_ops",
    is_training: Any = True,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool | None = True,
    batch_weights: Any = None,
    fused: bool | None = None,
    data_format: str = "NHWC",
    zero_debias_moving_mean: bool = False,
    scope: Any = None,
    renorm: bool = False,
    renorm_clipping: dict[str, Any] | None = None,
    renorm_decay: Any = 0.99,
    adjustment: Callable[[Any], tuple[Any, Any]] | None = None,
) -> Any: ...
def batch_normalization(
    inputs: Any,
    axis: Any = -1,
    momentum: Any = 0.99,
    epsilon: float = 0.001,
    center: bool = True,
    scale: bool = True,
    beta_initializer: Any = ...,
    gamma_initializer: Any = ...,
    moving_mean_initializer: Any = ...,
    moving_variance_initializer: Any = ...,
    beta_regularizer: Any = None,
    gamma_regularizer: Any = None,
    beta_constraint: Any = None,
    gamma_constraint: Any = None,
    training: Any = False,
    trainable: bool = True,
    name: str | None = None,
    reuse: Any = None,
    renorm: bool = False,
    renorm_clipping: dict[str, Any] | None = None,
    renorm_momentum: Any = 0.99,
    fused: bool | None = None,
    virtual_batch_size: int | None = None,
    adjustment: Callable[[Any], tuple[Any, Any]] | None = None,
) -> Any: ...

class BatchNormalization:
    name: str
    trainable: bool
    built: bool
    fused: bool | None
    axis: int | list[int]
    momentum: Any
    epsilon: Any
    gamma: Any
    beta: Any
    moving_mean: Any
    moving_variance: Any
    def __init__(
        self,
        axis: Any = -1,
        momentum: Any = 0.99,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = ...,
        gamma_initializer: Any = ...,
        moving_mean_initializer: Any = ...,
        moving_variance_initializer: Any = ...,
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: dict[str, Any] | None = None,
        renorm_momentum: Any = 0.99,
        fused: bool | None = None,
        trainable: bool = True,
        virtual_batch_size: int | None = None,
        adjustment: Callable[[Any], tuple[Any, Any]] | None = None,
        name: str | None = None,
        dtype: Any = None,
        _scope: Any = None,
        _reuse: Any = None,
    ) -> None: ...
    @property
    def dtype(self) -> str | None: ...
    @property
    def scope_name(self) -> str: ...
    @property
    def weights(self) -> list[Any]: ...
    @property
    def variables(self) -> list[Any]: ...
    @property
    def trainable_weights(self) -> list[Any]: ...
    @property
    def trainable_variables(self) -> list[Any]: ...
    @property
    def non_trainable_weights(self) -> list[Any]: ...
    @property
    def non_trainable_variables(self) -> list[Any]: ...
    @property
    def updates(self) -> list[Any]: ...
    @property
    def losses(self) -> list[Any]: ...
    def get_updates_for(self, inputs: Any) -> list[Any]: ...
    def get_losses_for(self, inputs: Any) -> list[Any]: ...
    def count_params(self) -> int: ...
    def get_weights(self) -> list[Any]: ...
    def set_weights(self, weights: Sequence[Any]) -> None: ...
    def get_config(self) -> dict[str, Any]: ...
    @classmethod
    def from_config(cls, config: dict[str, Any]) -> BatchNormalization: ...
    def compute_output_shape(self, input_shape: Any) -> Any: ...
    def add_weight(
        self,
        name: str,
        shape: Any = None,
        dtype: Any = None,
        initializer: Any = None,
        regularizer: Any = None,
        trainable: bool = True,
        **options: Any,
    ) -> Any: ...
    add_variable = add_weight
    def build(self, input_shape: Any) -> None: ...
    def call(self, inputs: Any, training: Any = False) -> Any: ...
    def __call__(self, inputs: Any, *args: Any, scope: Any = None, **kwargs: Any) -> Any: ...
    def apply(self, inputs: Any, *args: Any, **kwargs: Any) -> Any: ...
