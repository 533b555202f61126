"""The numbers of a recording, one by one, with the bound that ``bounds.py`` derives for each."""

import collections

import numpy as np

from golden.record import bounds, cases


def share_of_bound(got, wanted, allowed):
    """Distance in units of what is allowed; 0 where both are the same, infinite where a NaN stands alone."""
    got, wanted, allowed = np.broadcast_arrays(np.float64(got), np.float64(wanted), np.float64(allowed))
    with np.errstate(all="ignore"):
        used = np.abs(got - wanted) / allowed
    same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
    return np.where(same, 0.0, np.where(np.isfinite(used), used, np.inf))


def compared(case, played, original, recorded, floor=bounds.EPSILON_FLOOR, bounds_of=None):
    """Every number of a replay with the recorded one, and how far it is off in units of what both may be off.

    ``bounds_of``: what gives the errors of a recording; None for `errors_of`.
    """
    here, there = numbers_of(case, played), numbers_of(original, recorded)
    bound = (bounds_of or errors_of)(original, recorded, floor)
    here, there, bound = list(here), list(there), list(bound)
    assert [key for key, _ in here] == [key for key, _ in there] == [key for key, _ in bound]
    for (key, got), (_, wanted), (_, error) in zip(here, there, bound, strict=True):
        if wanted is None or got is None:
            assert got is wanted, key
            continue
        assert got.shape == wanted.shape, key
        yield key, got, wanted, share_of_bound(got, wanted, 2 * error)


def description(key, got, wanted, used):
    worst = np.unravel_index(used.argmax(), used.shape)
    return (
        f"{key}: {int((used > 1).sum())} of {used.size} values differ by more than rounding explains; "
        f"worst at {[int(i) for i in worst]}: {got[worst]} here, {wanted[worst]} in the recording, "
        f"{used[worst]:.3g} times the bound"
    )


def numbers_of(case, result):
    """Every number of a recording with a key that says which, as [N, C] or [C], channels last."""
    variables = {name: dtype.replace("_ref", "") for name, _, dtype in result["graph"]["variables"]}
    outputs = result["graph"]["outputs"]
    shape = case.placed(np.empty(case.shape)).shape

    def by_channel(listed, dtype):
        array = cases.array_of(listed, dtype)
        if array.size == np.prod(shape):
            array = case.channels_last(array.reshape(shape))
            return array.reshape(-1, array.shape[-1])
        return array

    state = dict(result["initial"], **result["start"])
    for number, step in enumerate(result["steps"]):
        for i in sorted(step["outputs"]):
            yield (
                (number, step["mode"], "output", i),
                by_channel(step["outputs"][i], outputs[int(i)]["dtype"]),
            )
        for i, named in sorted(step.get("gradients", {}).items()):
            for name, listed in sorted(named.items()):
                if name.endswith("x") and listed is not None:
                    yield (number, step["mode"], "gradient", i, name), by_channel(listed, case.dtype)
                else:
                    dtype = variables.get(name.split()[-1])
                    yield (number, step["mode"], "gradient", i, name), listed and cases.array_of(listed, dtype)
        state.update(step["variables"])
        for name in sorted(variables):
            yield (number, step["mode"], "variable", name), cases.array_of(state[name], variables[name])
        for name, listed in sorted(step.get("watched", {}).items()):
            uses = result["graph"]["watched"][name][1]
            dtype = variables[uses[0] + ":0"] if uses else "float32"
            yield (number, step["mode"], "watched", name), cases.array_of(listed, dtype)


class Parameters:
    """The variables of a recording by what they are to one output, parts of a split one put together."""

    def __init__(self, variables, uses):
        found = collections.defaultdict(list)
        for name in variables:
            if name[:-2] in uses:
                role = cases.role_of(name)[0]
                found[role, name.rpartition(f"/{role}")[0]].append(name)
        # Of stacked layers ("first", "second") the output is the last one's.
        self.names = {role: found[role, scope] for role, scope in sorted(found)}

    def __contains__(self, role):
        return role in self.names

    def read(self, values, role):
        found = [np.atleast_1d(values[name]) for name in sorted(self.names[role], key=cases.role_of)]
        return np.concatenate(found) if len(found) > 1 else found[0]


def part_of(whole, name, sizes):
    """What belongs to a variable, or to one part of a split variable."""
    role, part = cases.role_of(name)
    if name.split("/")[-1].startswith("part_") and np.ndim(whole):
        before = [size for other, size in sizes.items() if cases.role_of(other) < (role, part) and role in other]
        return whole[sum(before) : sum(before) + sizes[name]]
    return whole


def channels_last_pair(case, pair):
    """A pair (scale, bias) of any shape that fits the inputs, as [N, C]."""
    return None if pair is None else tuple(np.broadcast_to(a, case.shape).reshape(-1, case.shape[-1]) for a in pair)


def settings(case, path, floor=bounds.EPSILON_FLOOR):
    """(unit roundoff, that of half outputs of float32 arithmetic, epsilon as the path uses it)."""
    half, fused = case.dtype == "float16", path in ("A", "B", "AB")
    epsilon = (case.layer or {}).get("epsilon", 1e-3)
    return (
        bounds.UNIT["float32" if half and fused else case.dtype],
        bounds.UNIT[case.dtype] if half and fused else 0.0,
        max(epsilon, floor) if fused else epsilon,
    )


def errors_of(case, recorded, floor=bounds.EPSILON_FLOOR):
    """The rounding-error bound of every number that ``numbers_of`` yields, in the same order.

    Computed from the inputs and the recording alone, so the replay has no influence on what it is allowed.
    """
    u, output_u, epsilon = settings(case, recorded["path"], floor)
    outputs = recorded["graph"]["outputs"]
    variables = {name: dtype.replace("_ref", "") for name, _, dtype in recorded["graph"]["variables"]}
    sizes = {name: int(np.prod(shape)) for name, shape, _ in recorded["graph"]["variables"]}
    now = {n: cases.array_of(v, variables[n]).astype(float) for n, v in recorded["initial"].items()}
    now.update({n: cases.array_of(v, variables[n]).astype(float) for n, v in recorded["start"].items()})
    error = {name: np.zeros(sizes[name]) for name in variables}
    weights, again = (case.channels_last(case.weights(i)).astype(float).reshape(-1, case.shape[-1]) for i in (0, 1))

    for number, step in enumerate(recorded["steps"]):
        training = step["mode"] == "train"
        after = dict(now)
        after.update({n: cases.array_of(v, variables[n]).astype(float) for n, v in step["variables"].items()})
        batches, layers = [], {}
        for i in sorted(step["outputs"]):
            batch = batch_of(case, step, number, outputs[int(i)]["source"], layers, u)
            batches.append(batch)
            own = Parameters(variables, outputs[int(i)]["uses"])
            mean, variance = batch.mean, batch.variance
            mean_error, variance_error = batch.mean_error, batch.variance_error
            correction = adjustment = None
            if not training:
                mean, variance = own.read(now, "moving_mean"), own.read(now, "moving_variance")
                mean_error, variance_error = own.read(error, "moving_mean"), own.read(error, "moving_variance")
            else:
                adjustment = channels_last_pair(case, case.adjusted)
                if "renorm_mean" in own:
                    correction = correction_of(case, number, batch, own, now, error, epsilon, u)
            gamma, beta = (
                (own.read(now, k) if k in own else np.float64(default)) * np.asarray(case.factors.get(k, 1.0))
                for k, default in (("gamma", 1), ("beta", 0))
            )
            layers[i] = bounds.Normalised(
                batch,
                mean,
                variance,
                mean_error,
                variance_error,
                gamma,
                beta,
                epsilon,
                u,
                output_u,
                correction,
                adjustment,
            )
            yield (number, step["mode"], "output", i), layers[i].output_error
        for i, named in sorted(step.get("gradients", {}).items()):
            allowed = {"": layers[i].gradients(weights, training)}
            if case.gradients == "second":
                allowed["second"] = layers[i].second_gradients(weights, again, training)
            for name in sorted(named):
                order, _, of = name.rpartition(" ")
                role = cases.role_of(of)[0]
                whole = allowed[order][role] * np.asarray(case.factors.get(role, 1.0))
                yield (number, step["mode"], "gradient", i, name), part_of(whole, of, sizes)
        # TF 1.0 and 1.1 update while testing too.
        if training or any(name.endswith("moving_mean:0") for name in step["variables"]):
            error.update(statistics_errors(case, now, after, error, batches, u, epsilon))
        now = after
        for name in sorted(variables):
            yield (number, step["mode"], "variable", name), np.broadcast_to(error[name], np.shape(now[name]))
        for name in sorted(step.get("watched", {})):
            yield (number, step["mode"], "watched", name), loss_error(recorded, step, name, now, error, u)


def loss_error(recorded, step, name, now, error, u):
    """Every regulariser of the table is some k sum(v * v), or a number."""
    value, uses = step["watched"][name][0], recorded["graph"]["watched"][name][1]
    if not uses:
        return 0.0
    (used,) = (use + ":0" for use in uses)
    squares = np.sum(now[used] ** 2)
    carried = 2 * np.sum(np.abs(now[used]) * error[used]) * abs(value) / squares if squares else 0.0
    return carried + (now[used].size + 3) * u * abs(value)


def correction_of(case, number, batch, own, now, error, epsilon, u):
    """The `bounds.Correction` of a step of batch renormalisation, with or without the weights of 1.2 to 1.14."""
    state = [own.read(v, f"renorm_{k}") for v in (now, error) for k in ("mean", "stddev")]
    weighted = "renorm_mean_weight" in own
    if weighted:
        moments = (batch.mean, batch.mean_error), batch.stddev(epsilon, u)
        pairs = []
        for k, average, average_error, (value, value_error) in zip(
            ("mean", "stddev"), state[:2], state[2:], moments, strict=True
        ):
            weight, weight_error = (own.read(v, f"renorm_{k}_weight") for v in (now, error))
            errors = average_error, weight_error, value_error
            pairs.append(bounds.mixed(average, weight, value, errors, u))
        (mean, mean_error), (stddev, stddev_error) = pairs
        state = [mean, stddev, mean_error, stddev_error]
    return bounds.Correction(batch, *state, epsilon, case.clipping(number), u, floor=not weighted)


def batch_of(case, step, number, source, layers, u):
    weights = None
    if case.sample_weights is not None:
        weights = case.sample_weights(number, source if isinstance(source, int) else 0)
    if isinstance(source, int):
        return bounds.Batch(case.channels_last(case.batch(number, source)), u, weights=weights)
    first = layers[source.split()[1]]
    listed = cases.array_of(step["outputs"][source.split()[1]], case.dtype)
    array = case.channels_last(listed.reshape(case.placed(np.empty(case.shape)).shape))
    return bounds.Batch(array, u, dx=first.output_error, weights=weights)


def debias_names(mean, names):
    """The variables (biased, local_step) that zero_debias_moving_mean keeps for a moving mean, or None."""
    shadow = f"{mean.rpartition('/')[0]}/{mean[:-2]}"
    return (f"{shadow}/biased:0", f"{shadow}/local_step:0") if f"{shadow}/biased:0" in names else None


def statistics_errors(case, before, after, error, batches, u, epsilon):
    """Errors of the moving statistics after a step; the widest of what any batch of the step explains."""
    result = {}
    u = u * case.repeats
    for name in before:
        if not name.endswith("moving_mean:0"):
            continue
        stem = name[: -len("moving_mean:0")]
        shadows = debias_names(name, before)
        averaged = shadows[0] if shadows else name
        rate = max(bounds.rate_of(before[averaged], after[averaged], batch.mean) for batch in batches)

        def moved(which, of, rate):
            return np.max(
                [bounds.moved(before[which], after[which], *of(b), error[which], rate, u) for b in batches], axis=0
            )

        def mean_of(batch):
            return batch.mean, batch.mean_error

        def stddev_of(batch):
            return batch.stddev(epsilon, u)

        result[averaged] = moved(averaged, mean_of, rate)
        if shadows:
            updates = after[shadows[1]]
            result[name] = bounds.debiased_error(after[name], result[averaged], rate, updates, u)
            if np.all(updates == before[shadows[1]]):
                result[name] = error[name]
        if f"{stem}renorm_mean_weight:0" in before:
            result.update(weighted_errors(stem, before, after, error, batches, u, epsilon))
            continue
        if f"{stem}moving_stddev:0" not in before:
            result[f"{stem}moving_variance:0"] = moved(
                f"{stem}moving_variance:0", lambda b: (b.variance, b.variance_error), rate
            )
            continue
        means = f"{stem}renorm_mean:0"
        renorm_rate = max(bounds.rate_of(before[means], after[means], batch.mean) for batch in batches)
        result[means] = moved(means, mean_of, renorm_rate)
        result[f"{stem}renorm_stddev:0"] = moved(f"{stem}renorm_stddev:0", stddev_of, renorm_rate)
        stddev = f"{stem}moving_stddev:0"
        result[stddev] = moved(stddev, stddev_of, rate)
        result[f"{stem}moving_variance:0"] = bounds.squared_error(after[stddev], result[stddev], epsilon, u)
    return result


def weighted_errors(stem, before, after, error, batches, u, epsilon):
    """Errors of the statistics of batch renormalisation of 1.2 to 1.14: the moving ones follow average over weight."""

    def name(short):
        return f"{stem}{short}:0"

    def widest(short, of, rate):
        which = name(short)
        return np.max(
            [bounds.moved(before[which], after[which], *of(b), error[which], rate, u) for b in batches], axis=0
        )

    result = {}
    rate = max(bounds.rate_of(before[name("renorm_mean")], after[name("renorm_mean")], b.mean) for b in batches)
    for short, of in (
        ("renorm_mean", lambda b: (b.mean, b.mean_error)),
        ("renorm_stddev", lambda b: b.stddev(epsilon, u)),
    ):
        result[name(short)] = widest(short, of, rate)
        result[name(f"{short}_weight")] = widest(f"{short}_weight", lambda b: (1.0, 0.0), rate)
    mean, stddev = (
        bounds.ratio(
            after[name(short)], after[name(f"{short}_weight")], result[name(short)], result[name(f"{short}_weight")], u
        )
        for short in ("renorm_mean", "renorm_stddev")
    )
    variance = stddev[0] ** 2 - epsilon, bounds.squared_error(*stddev, epsilon, u)
    rate = bounds.rate_of(before[name("moving_mean")], after[name("moving_mean")], mean[0])
    result[name("moving_mean")] = widest("moving_mean", lambda b: mean, rate)
    result[name("moving_variance")] = widest("moving_variance", lambda b: variance, rate)
    return result
