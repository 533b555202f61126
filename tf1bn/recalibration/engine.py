"""The passes over the data, whatever framework runs the model. Reached through `tf1bn.recalibration`."""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from .._util.text import quoted
from ..checker import Moments, batch_moments
from ..checker.roundoff import rounded_to
from ..cluster.bags import of_partitions
from ..errors import RecalibrationError
from .data import Data
from .report import LayerReport, Report, Vector

ORDERS = ("batch", "sequential")
Take = Callable[..., None]


class Statistics(NamedTuple):
    """The moving statistics of a layer as they are stored, vectors of one dtype."""

    mean: Vector
    variance: Vector


class Convention(NamedTuple):
    """What the engine has to know of a layer.

    Attributes:
      bessel: whether it stores N/(N-1) times the variance.
      epsilon: a number, or None.
      bfloat16: whether the statistics, which are float32 vectors here, are stored as bfloat16.
    """

    bessel: bool
    epsilon: float | None
    bfloat16: bool = False


class Target(Protocol):
    """A model in one of the frameworks.

    Attributes:
      conventions: dict from the names of the layers that can be recalibrated to their `Convention`.
      left_out: dict from the names of the others to the reason, a sentence.
    """

    conventions: dict[str, Convention]
    left_out: dict[str, str]

    def read(self, name: str) -> Statistics:
        """A copy of a layer's statistics."""

    def write(self, name: str, statistics: Statistics) -> None:
        """Store a layer's statistics."""

    def begin(self, names: list[str], by_batch: bool) -> None:
        """Bring the model into the mode of collecting; ``by_batch``: these layers normalise by the batch."""

    def end(self) -> None:
        """Bring everything but the statistics that were written back into the state of before."""

    def levels(self, names: list[str], batch: Any) -> list[list[str]] | None:
        """The layers in groups, each of which depends on those before it alone; None: the run will show the order."""

    def recipe(self) -> tuple[Callable[..., Target], tuple[Any, ...]] | None:
        """A function and the arguments with which it makes such a target in another process; None: it cannot be."""

    def run(self, batch: Any, names: list[str], take: Take) -> None:
        """Run one batch; ``take`` is called with the name of a layer and its input, channels last, at each application.

        ``names`` are those that are asked for; others may be taken too. A third argument may be the weights of the
        samples, a vector; None: they count alike.
        """


def recalibrated(
    target: Target,
    batches: Iterable[Any] | Callable[[], Iterable[Any]],
    *,
    order: str,
    layers: str | Iterable[str] | None,
    write: bool,
) -> Report:
    """Run the passes, and write or restore the statistics; see `recalibrate`."""
    names = _chosen(target, layers)
    old = {name: target.read(name) for name in names}
    data = Data(batches)
    work = _in_one_pass if order == "batch" else _one_after_the_other
    try:
        moments, new = work(target, names, data, old)
    finally:
        # The updates of the runs themselves are none that anybody asked for.
        try:
            _write(target, old)
        finally:
            target.end()
    if not new:
        raise ValueError(
            f"`batches` give no values to a batch-norm layer of the model; {quoted(names, 4)} had no input, or inputs "
            "without a sample. Nothing was changed."
        )
    left_out = {**target.left_out, **{name: "It was applied to no batch." for name in names if name not in new}}
    if write:
        try:
            _write(target, new)
        except BaseException:
            _write(target, old)
            raise
    reports = tuple(
        LayerReport(
            name,
            moments[name].count,
            *old[name],
            *new[name],
            moments[name].mean,
            moments[name].variance,
            target.conventions[name].epsilon,
        )
        for name in new
    )
    return Report(order, reports, left_out, data.passes, data.length, write)


def _write(target: Target, statistics: Mapping[str, Statistics]) -> None:
    for name, of_layer in statistics.items():
        target.write(name, of_layer)


class _Collector:
    """The moments of the layers that a pass is about."""

    def __init__(self, data: Data) -> None:
        self._data = data
        self.moments: dict[str, Moments] = {}

    def run(self, target: Target, names: list[str], belongs: Callable[[str], bool]) -> None:
        """A pass over the data that collects the layers that ``belongs`` to it."""
        for batch in self._data.pass_over():
            self._add(_measured(target, batch, names, belongs))

    def run_elsewhere(self, recipe: tuple[Callable[..., Target], tuple[Any, ...]], names: list[str]) -> None:
        """A pass over a bag, whose workers make the target by its recipe; the moments are merged as by `run`."""
        made = of_partitions(self._data.bag, _measured_partition, recipe, names)
        for moments in self._data.pass_over(itertools.chain.from_iterable(made)):
            self._add(moments)

    def _add(self, measured: list[tuple[str, Moments]]) -> None:
        for name, moments in measured:
            if not (np.isfinite(moments.mean).all() and np.isfinite(moments.variance).all()):
                raise RecalibrationError(
                    f"The inputs of layer {name!r} in batch {self._data.number} hold NaN or infinity, of which there "
                    "are no statistics; look for it in the data, or in the layers before this one. Nothing was changed."
                )
            self.moments[name] = self.moments[name].merge(moments) if name in self.moments else moments


def _measured(
    target: Target, batch: Any, names: list[str], belongs: Callable[[str], bool]
) -> list[tuple[str, Moments]]:
    """The names of layers and the moments of their inputs, for each application in a run of a batch."""
    result = []

    def take(name: str, inputs: npt.NDArray[Any], weights: npt.NDArray[Any] | None = None) -> None:
        if belongs(name) and inputs.size and (weights is None or np.any(weights)):
            result.append((name, batch_moments(inputs, weights=weights)))

    target.run(batch, names, take)
    return result


def _measured_partition(
    batches: list[Any], recipe: tuple[Callable[..., Target], tuple[Any, ...]], names: list[str]
) -> list[list[tuple[str, Moments]]]:
    """In a worker: what `_measured` gives of each batch, with layers that normalise by it."""
    make, arguments = recipe
    target = make(*arguments)
    target.begin(names, by_batch=True)
    return [_measured(target, batch, names, set(names).__contains__) for batch in batches]


def _in_one_pass(
    target: Target, names: list[str], data: Data, old: Mapping[str, Statistics]
) -> tuple[dict[str, Moments], dict[str, Statistics]]:
    collector = _Collector(data)
    recipe = None if data.bag is None else target.recipe()
    if recipe is not None:
        collector.run_elsewhere(recipe, names)
    else:
        target.begin(names, by_batch=True)
        collector.run(target, names, set(names).__contains__)
    return collector.moments, {
        name: _stored(name, target.conventions[name], moments, old[name]) for name, moments in collector.moments.items()
    }


def _one_after_the_other(
    target: Target, names: list[str], data: Data, old: Mapping[str, Statistics]
) -> tuple[dict[str, Moments], dict[str, Statistics]]:
    target.begin(names, by_batch=False)
    data.check_repeatable()
    collector = _Collector(data)
    new: dict[str, Statistics] = {}

    def finish(level: list[str]) -> None:
        for name in level:
            if name in collector.moments:
                new[name] = _stored(name, target.conventions[name], collector.moments[name], old[name])
                target.write(name, new[name])

    levels = target.levels(names, data.first())
    if levels is not None:
        for level in levels:
            collector.run(target, level, level.__contains__)
            finish(level)
        return collector.moments, new
    rest = list(names)
    while rest:
        first: list[str] = []

        def is_first(name: str, first: list[str] = first) -> bool:
            # Nothing of the rest is applied before it, so its inputs depend on layers that are finished.
            if not first and name in rest:
                first.append(name)
            return name in first

        collector.run(target, rest, is_first)
        if not first:
            break
        finish(first)
        rest.remove(first[0])
    return collector.moments, new


def _stored(name: str, convention: Convention, moments: Moments, old: Statistics) -> Statistics:
    """The statistics that a layer stores of these moments, in the dtype of the old ones."""
    variance = moments.variance
    if convention.bessel and moments.count > 1:
        variance = variance * (moments.count / (moments.count - 1))
    dtype = "bfloat16" if convention.bfloat16 else old.mean.dtype.name
    new = Statistics(*(rounded_to(values, dtype).astype(old.mean.dtype) for values in (moments.mean, variance)))
    if not (np.isfinite(new.mean).all() and np.isfinite(new.variance).all()):
        raise RecalibrationError(
            f"The new statistics of layer {name!r} are beyond the range of {dtype}, in which it stores them. "
            "Nothing was changed."
        )
    return new


def _chosen(target: Target, layers: str | Iterable[str] | None) -> list[str]:
    """The names of the layers that ``layers`` asks for."""
    if not target.conventions:
        reasons = " ".join(f"{name}: {reason}" for name, reason in target.left_out.items())
        raise ValueError(f"`model` has no batch-norm layer that can be recalibrated. {reasons}".rstrip())
    if layers is None:
        return list(target.conventions)
    patterns = [layers] if isinstance(layers, str) else list(layers) if isinstance(layers, Iterable) else [layers]
    if not patterns:
        raise ValueError("`layers` is empty; give the names of the layers to recalibrate, or None for all.")
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TypeError(f"`layers` has {pattern!r}; it must be None, a layer's name, or a list of such names.")
        if not any(fnmatch.fnmatchcase(name, pattern) for name in target.conventions):
            if pattern in target.left_out:
                raise ValueError(f"`layers` asks for {pattern!r}, which is left out: {target.left_out[pattern]}")
            raise ValueError(
                f"`layers` has {pattern!r}, which fits no layer; there are {quoted(list(target.conventions), 8)}."
            )
    return [name for name in target.conventions if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
