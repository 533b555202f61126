# Runs on Python 2.7 too, see below:
# ruff: noqa: UP004, UP010
"""Batch-norm layers as they are found in a graph: their applications, variables and settings.

Imports no TensorFlow. All below the imports stands word for word in docker/tf1/record_tf1.py too, which runs on
Python 2.7; a test compares.
"""

from __future__ import absolute_import, division, print_function

import collections

# ---- what record_tf1.py holds ----


Channels = collections.namedtuple("Channels", "axes virtual")
"""The axes of a layer's inputs that hold its channels, and the one that numbers virtual batches, or None."""


class Application(object):
    """One call of a layer in a graph: the place where it is applied to one input.

    Attributes:
      statistic: the operation of the moving mean's variable, which identifies the layer.
      variance: that of the moving variance's, where a scan found the layer.
      inputs, outputs: tensors.
      reads: dict from "moving_mean", "moving_variance" and perhaps "gamma" and "beta" to lists of tensors, whose values
        are concatenated.
      state: the same for the layer's further variables.
      flag: None, or the tensor that decides whether it trains: it does if the value is `trains`.
      trains: without a flag, whether it trains.
      rate: None, or, where the decay is known in a run alone, the tensor with 1 - decay, or with the decay if
        `rate_is_decay`.
      weights: a tensor of one weight per sample, or None.
      channels: the `Channels` of a layer whose statistics are no vectors, with several axes or virtual batches, each of
        which has moments of its own that move the statistics by their mean; None where the settings say it.
      touched: the operations that a run cannot do without applying the layer.
      settings: the dict of the layer's settings, by the names in a trace.
      problem: why it cannot be recorded, part of a sentence; or None.
    """

    def __init__(self, **attributes):
        self.flag = self.rate = self.weights = self.channels = self.problem = None
        self.rate_is_decay = False
        self.state = {}
        self.__dict__.update(attributes)


class GraphLayer(object):
    """A layer of a graph: a name, its settings, its applications in the order of the graph, and its problem.

    Settings that the applications do not share are None. What only tests may have been built with another decay, which
    does not matter to the statistics, so training applications alone decide about some.
    """

    def __init__(self, name, applications):
        self.name = name
        self.applications = applications
        self.problem = next((a.problem for a in applications if a.problem), None)
        training = [a for a in applications if a.trains or a.flag is not None] or applications
        self.reads, self.state, self.settings = {}, {}, dict(training[0].settings)
        for application in applications:
            self.reads.update(application.reads)
            self.state.update(application.state)
        for key, deciding in (
            ("decay", training),
            ("fused", training),
            ("rate_dtype", training),
            ("renorm_clipping", training),
            ("epsilon", applications),
        ):
            values = [a.settings[key] for a in deciding]
            self.settings[key] = values[0] if all(value == values[0] for value in values) else None
        axes = [(a.settings["data_format"], a.settings.get("axis"), a.channels is None) for a in applications]
        if len(set(axes)) > 1:
            self.problem = self.problem or "its applications do not agree about the axis of the channels"
        if len([a for a in training if a.channels is not None and a.channels.virtual is not None]) > 1:
            self.problem = self.problem or "it is trained with virtual batches in several places, each an update"
        for key in ("center", "scale"):
            self.settings[key] = next((a.settings[key] for a in applications if a.settings[key] is not None), None)


def layers_of(applications):
    """The applications grouped by their moving mean: a list of `GraphLayer`, in the order of the first application."""
    by_statistic = collections.OrderedDict()
    for application in applications:
        by_statistic.setdefault(application.statistic.name, []).append(application)
    layers, names = [], set()
    for statistic, group in by_statistic.items():
        name = statistic[: -len("/moving_mean")] if statistic.endswith("/moving_mean") else statistic
        name = statistic if name in names else name
        names.add(name)
        layers.append(GraphLayer(name, group))
    return layers


def unknown_settings():
    """The settings of a layer about which only its moving mean is known."""
    settings = dict.fromkeys(("decay", "epsilon", "fused", "release", "center", "scale", "axis", "rate_dtype"))
    settings.update(data_format="NHWC", dtype="float32", zero_debias=False, trainable=True, renorm=False)
    settings.update(renorm_clipping=None)
    return settings
