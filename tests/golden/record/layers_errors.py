"""What ``errors.py`` does, for the cases of ``layers_cases.py``: with virtual batches a bound has more parts.

Each virtual batch j of n elements is a batch of its own, so outputs and the gradients by the input have its bounds. The
statistics are updated with the means of the B moments, whose error is theirs and that of B additions and a division:

    moment      d = mean_j(d_j) + (B + 1) u mean_j|moment_j|

and the gradients by gamma and beta are the sums of the B gradients, each of magnitude s_j:

    gradient    d = sum_j(d_j) + B u sum_j(s_j)
"""

import numpy as np

from golden.record import bounds, cases, errors


def errors_for(case):
    """What gives the error of every number of a recording of this case."""
    return errors.errors_of if case.virtual is None else errors_of


class Ghosts(bounds.Batch):
    """A batch as its virtual batches move the statistics: ``mean`` and ``variance`` are the means of theirs."""

    def __init__(self, case, array, u):
        super().__init__(array, u)
        self.number = number = case.real[0] // case.virtual
        sample = np.arange(len(self.x)) // (len(self.x) // case.real[0])
        self.owner = self.owner_of(sample, number, case.virtual)
        self.parts = [bounds.Batch(self.x[self.owner == j], u) for j in range(number)]
        for name in ("mean", "variance"):
            values = np.array([getattr(part, name) for part in self.parts])
            wrong = np.array([getattr(part, f"{name}_error") for part in self.parts])
            setattr(self, name, values.mean(0))
            setattr(self, f"{name}_error", wrong.mean(0) + (number + 1) * u * np.abs(values).mean(0))

    def owner_of(self, sample, number, size):
        """Which virtual batch a sample belongs to, of ``number`` with ``size`` samples each."""
        return sample % number

    def spread(self, of_parts):
        """What belongs to the elements of each virtual batch, in the order of the elements of the whole."""
        result = np.empty(self.x.shape)
        for j, part in enumerate(of_parts):
            result[self.owner == j] = part
        return result


def errors_of(case, recorded, floor=bounds.EPSILON_FLOOR):
    """As ``errors.errors_of``, for one layer with virtual batches."""
    u, output_u, epsilon = errors.settings(case, recorded["path"], floor)
    variables = {name: dtype.replace("_ref", "") for name, _, dtype in recorded["graph"]["variables"]}

    def read(state):
        return {name: cases.array_of(v, variables[name]).astype(float) for name, v in state.items()}

    now = read(dict(recorded["initial"], **recorded["start"]))
    error = {name: np.zeros(np.shape(value)) for name, value in now.items()}
    weights = case.channels_last(case.weights()).astype(float).reshape(-1, case.shape[-1])
    for number, step in enumerate(recorded["steps"]):
        training = step["mode"] == "train"
        after = dict(now, **read(step["variables"]))
        batch = Ghosts(case, case.channels_last(case.batch(number)), u)
        parts = [bounds.Batch(batch.x, u)]
        if training:
            parts = batch.parts
        for i in sorted(step["outputs"]):
            own = errors.Parameters(variables, recorded["graph"]["outputs"][int(i)]["uses"])
            correction = None
            if training and "renorm_mean" in own:
                correction = errors.correction_of(case, number, batch, own, now, error, epsilon, u)
            parameters = [own.read(now, k) if k in own else np.float64(v) for k, v in (("gamma", 1), ("beta", 0))]
            moving = None
            if not training:
                moving = [own.read(v, f"moving_{k}") for v in (now, error) for k in ("mean", "variance")]
            normalised = []
            for part in parts:
                batchs = part.mean, part.variance, part.mean_error, part.variance_error
                moments = batchs if training else moving
                normalised.append(bounds.Normalised(part, *moments, *parameters, epsilon, u, output_u, correction))
            spread = batch.spread if training else (lambda parts: parts[0])
            yield (number, step["mode"], "output", i), spread([one.output_error for one in normalised])
            named = step.get("gradients", {}).get(i, {})
            shares = [weights[batch.owner == j] if training else weights for j in range(len(parts))]
            allowed = [one.gradients(w, training) for one, w in zip(normalised, shares, strict=True)]
            for name in sorted(named):
                role = cases.role_of(name)[0]
                if role == "x":
                    yield (number, step["mode"], "gradient", i, name), spread([a["x"] for a in allowed])
                    continue
                size = sum(
                    np.abs(w * (one.centred * one.inverse if role == "gamma" else 1)).sum(0)
                    for one, w in zip(normalised, shares, strict=True)
                )
                whole = sum(a[role] for a in allowed) + len(parts) * u * size
                yield (number, step["mode"], "gradient", i, name), whole
        if training:
            error.update(errors.statistics_errors(case, now, after, error, [batch], u, epsilon))
        now = after
        for name in sorted(variables):
            yield (number, step["mode"], "variable", name), np.broadcast_to(error[name], np.shape(now[name]))
        for name in sorted(step.get("watched", {})):
            yield (number, step["mode"], "watched", name), errors.loss_error(recorded, step, name, now, error, u)
