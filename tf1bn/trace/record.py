"""One layer in one step of a trace, as it is read. Reached through `tf1bn.trace`."""

from __future__ import annotations

import contextlib
import copy
import functools
import types
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .._util.validation import boolean, member, number, one_of, whole
from ..errors import TraceError
from .settings import DTYPES, REDUCTIONS, STEP_STATISTICS, Layer
from .storage import REALS, Folder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..checker import Moments


class Record:
    """One layer in one step. Its arrays are read when they are asked for, are read-only, and may hold NaN.

    Every attribute that is an array raises `TraceError` if its file is damaged or does not fit the others.

    Attributes:
      layer: the settings of the layer, a `Layer`.
      training: one bool for each application of the layer: whether it trained.
      applications: how often the layer was applied in this step, 1 or more.
      updated: one bool for each application: whether it was to update the statistics, as those that train are unless
        the trace says otherwise.
      recomputed: one bool for each application: whether it ran once more what had run before in the step, as
        activation checkpointing does in the backward pass.
      replicas: the index of the replica of each application, a tuple; None if there is one replica.
      reduction: how the batches of the applications come into the statistics: "pooled" as one batch, "mean" as the mean
        of their updates, "none" each by itself; None if the trace does not say, as where there is one replica.
      inputs_dtype, outputs_dtype: the dtype that they had in the run, such as "bfloat16", which .npy cannot hold; None
        if it is that of the arrays.
      decay: the decay in this step, a float, or None if it is not known; that of `layer` unless the step has its own.
      decays: for each application its decay, a float or None; None where the trace gives them no decays of their own.
      moving_mean_before, moving_variance_before, moving_mean_after, moving_variance_after: [channels], in the
        dtype that was written: the statistics before and after the step.
      gamma, beta: [channels], before the step; None if they were not recorded.
      inputs: one memory-mapped array for each application: float16, float32 or float64, of rank 2 or more, with an
        axis as long as the statistics; None if the trace holds moments instead. Whether that axis is the one that the
        layer declares is not checked, because a diagnosis looks for this mistake.
      moments: one `checker.Moments` for each application; None if the trace holds inputs.
      outputs: one memory-mapped array for each application, in the shape of its input; None if they were not recorded.
      weights: for each application a vector [N] with one weight for each of its N samples, or None if it has no
        weights; None if no application has.
      state: the layer's further variables, vectors by names such as "biased", "local_step" and "renorm_mean": before
        the step, and after it as "biased_after" and so on. Scalars have one element.
    """

    layer: Layer
    training: tuple[bool, ...]
    applications: int
    updated: tuple[bool, ...]
    recomputed: tuple[bool, ...]
    replicas: tuple[int, ...] | None
    reduction: str | None
    inputs_dtype: str | None
    outputs_dtype: str | None
    decay: float | None
    decays: tuple[float | None, ...] | None

    _folder: Folder
    _where: str
    _vectors: dict[str, npt.NDArray[Any]]

    def __init__(self, layer: Layer, training: bool, entry: Any) -> None:
        self.layer = layer
        member("layer", entry, dict)
        # A null is as good as nothing, but for the decay, where it stands for one that is not known.
        self._entry = entry = {key: item for key, item in entry.items() if item is not None or key == "decay"}
        kind = inputs_or_moments(entry)
        for name in STEP_STATISTICS:
            required(entry, name)
        self.applications = len(member(kind, entry[kind], list))
        if not self.applications:
            raise ValueError(f"`{kind}` is empty; give one for each application of the layer.")
        for name in ("outputs", "weights"):
            if name in entry:
                self._check_length(name)
        flags = entry.get("training", training)
        if isinstance(flags, list):
            self._check_length("training")
            self.training = tuple(boolean("training", flag) for flag in flags)
        else:
            self.training = (boolean("training", flags),) * self.applications
        self._read_circumstances()
        self.decay = number("decay", entry["decay"], 0.0, 1.0) if "decay" in entry else layer.decay
        self.decays = None
        if "decays" in entry:
            self._check_length("decays")
            self.decays = tuple(number("decays", each, 0.0, 1.0) for each in entry["decays"])
        self._counts = []
        for moments in entry.get("moments", ()):
            member("moments", moments, dict)
            self._counts.append(whole("count", required(moments, "count")))
            for name in ("mean", "variance"):
                required(moments, name)
        self._state = member("state", entry.get("state", {}), dict)

    def paths(self, *names: str) -> list[Any]:
        """The paths of vectors: of moving statistics, gamma and beta by their names."""
        return [self._entry[name] for name in names]

    def moments_paths(self) -> list[tuple[int, Any, Any]]:
        """For each application the count of its recorded moments, and the paths of their mean and variance."""
        entries = self._entry.get("moments", ())
        return [(n, entry["mean"], entry["variance"]) for n, entry in zip(self._counts, entries, strict=True)]

    def of_step(self, folder: Folder, where: str) -> Record:
        """This record as that of a step, whose arrays lie in ``folder``; ``where`` names the step and the layer."""
        record = copy.copy(self)
        record._folder, record._where, record._vectors = folder, where, {}
        return record

    def _read_circumstances(self) -> None:
        """Read the keys that say how the applications came about."""
        entry = self._entry
        for name in ("updated", "recomputed", "replicas"):
            if name in entry:
                self._check_length(name)
        self.updated = tuple(boolean("updated", flag) for flag in entry.get("updated", self.training))
        self.recomputed = tuple(
            boolean("recomputed", flag) for flag in entry.get("recomputed", (False,) * self.applications)
        )
        self.replicas = tuple(whole("replicas", i) for i in entry["replicas"]) if "replicas" in entry else None
        self.reduction = one_of("reduction", entry.get("reduction"), (None, *REDUCTIONS))
        self.inputs_dtype = one_of("inputs_dtype", entry.get("inputs_dtype"), (None, *DTYPES))
        self.outputs_dtype = one_of("outputs_dtype", entry.get("outputs_dtype"), (None, *DTYPES))

    def __repr__(self) -> str:
        flags = {flag: "training" if flag else "inference" for flag in self.training}
        times = f"{self.applications} application{'' if self.applications == 1 else 's'}"
        return f"<Record of {self._where}: {' and '.join(flags.values())}, {times}; has {', '.join(self.holds)}>"

    @property
    def holds(self) -> tuple[str, ...]:
        """The names of what it has beside the statistics, such as "inputs", "outputs" and "gamma"."""
        optional = ("inputs", "moments", "outputs", "gamma", "beta", "weights", "state")
        return tuple(name for name in optional if name in self._entry)

    @property
    def state_names(self) -> tuple[str, ...]:
        """The names of `state`, without reading it."""
        return tuple(self._state)

    @property
    def moving_mean_before(self) -> npt.NDArray[np.floating[Any]]:
        return self._vector("moving_mean_before", like=None)

    @property
    def moving_variance_before(self) -> npt.NDArray[np.floating[Any]]:
        return self._vector("moving_variance_before")

    @property
    def moving_mean_after(self) -> npt.NDArray[np.floating[Any]]:
        return self._vector("moving_mean_after")

    @property
    def moving_variance_after(self) -> npt.NDArray[np.floating[Any]]:
        return self._vector("moving_variance_after")

    @property
    def gamma(self) -> npt.NDArray[np.floating[Any]] | None:
        return self._vector("gamma") if "gamma" in self._entry else None

    @property
    def beta(self) -> npt.NDArray[np.floating[Any]] | None:
        return self._vector("beta") if "beta" in self._entry else None

    @functools.cached_property
    def inputs(self) -> tuple[npt.NDArray[np.floating[Any]], ...] | None:
        if "inputs" not in self._entry:
            return None
        channels = self.moving_mean_before.shape[0]
        arrays = tuple(self._folder.map(path) for path in self._entry["inputs"])
        for array in arrays:
            if array.ndim < 2 or channels not in array.shape:
                raise self._error(
                    f"`inputs` has an array of shape {array.shape}; it must have rank 2 or more and an axis of the "
                    f"{channels} channels that the statistics have."
                )
        return arrays

    @functools.cached_property
    def outputs(self) -> tuple[npt.NDArray[np.floating[Any]], ...] | None:
        if "outputs" not in self._entry:
            return None
        arrays = tuple(self._folder.map(path) for path in self._entry["outputs"])
        for output, given in zip(arrays, self.inputs or arrays, strict=True):
            if output.ndim < 2 or output.shape != given.shape:
                raise self._error(f"`outputs` has an array of shape {output.shape} where the input has {given.shape}.")
        return arrays

    @property
    def moments(self) -> tuple[Moments, ...] | None:
        from ..checker import Moments  # loads the compiled extension, which only this needs

        if "moments" not in self._entry:
            return None
        result = []
        for count, entry in zip(self._counts, self._entry["moments"], strict=True):
            mean, variance = (self._vector(name, entry) for name in ("mean", "variance"))
            try:
                result.append(Moments(count, mean, variance))
            except ValueError as error:
                raise self._error(f"the moments are not those of a batch: {error}") from error
        return tuple(result)

    @property
    def weights(self) -> tuple[npt.NDArray[Any] | None, ...] | None:
        paths = self._entry.get("weights")
        if paths is None or all(path is None for path in paths):
            return None
        result = []
        for i, path in enumerate(paths):
            array = None if path is None else self._folder.load(path, REALS)
            if array is not None and (array.ndim != 1 or (self.inputs and array.shape != self.inputs[i].shape[:1])):
                raise self._error(f"`weights` has an array of shape {array.shape}; it must have one per sample.")
            result.append(array)
        return tuple(result)

    @property
    def state(self) -> Mapping[str, npt.NDArray[Any]]:
        result = {}
        for name, path in self._state.items():
            array = self._folder.load(path, REALS)
            if array.ndim > 1:
                raise self._error(f"`state` has {name!r} of shape {array.shape}; it must be a vector.")
            result[name] = array.reshape(-1)
        return types.MappingProxyType(result)

    def _vector(
        self, name: str, entry: dict[str, Any] | None = None, like: str | None = "moving_mean_before"
    ) -> npt.NDArray[Any]:
        """The vector at the path ``entry[name]``, as long as ``like``; vectors of the record itself are kept."""
        if entry is None and name in self._vectors:
            return self._vectors[name]
        array = self._folder.load((self._entry if entry is None else entry)[name])
        shape = array.shape if like is None else self._vector(like, like=None).shape
        if array.ndim != 1 or not array.size or array.shape != shape:
            has = "" if like is None else f" like the {shape[0]} of `{like}`"
            raise self._error(f"`{name}` has shape {array.shape}; it must be a vector with one value per channel{has}.")
        if entry is None:
            self._vectors[name] = array
        return array

    def _check_length(self, name: str) -> None:
        length = len(member(name, self._entry[name], list))
        if length != self.applications:
            raise ValueError(
                f"`{name}` has {length} items and the layer {self.applications} applications; give one for each."
            )

    def _error(self, text: str) -> TraceError:
        return self._folder.error(f"{self._where}: {text}")


def inputs_or_moments(entry: Mapping[str, Any]) -> str:
    """Which of the keys "inputs" and "moments" a record has; ValueError unless it has one of the two."""
    kinds = [kind for kind in ("inputs", "moments") if kind in entry]
    if len(kinds) != 1:
        which = "both `inputs` and" if kinds else "neither `inputs` nor"
        raise ValueError(f"it has {which} `moments`; give one of the two.")
    return kinds[0]


def required(entry: dict[str, Any], name: str) -> Any:
    """``entry[name]``; ValueError if it is missing."""
    if name not in entry:
        raise ValueError(f"`{name}` is missing.")
    return entry[name]


@contextlib.contextmanager
def naming_layer(name: str) -> Iterator[None]:
    """Put the name of the layer before the message of every ValueError inside."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"layer {name!r}: {error}") from error
