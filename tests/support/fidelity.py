"""Writes docs/fidelity.md: the article's listings under each release, and what of the recordings is the same bits.

    python tests/support/fidelity.py            says whether the page holds what is found now
    python tests/support/fidelity.py --write    writes it

Of the recordings in tests/golden/tf-*, the first two graphs that run of each feature and release are built and run
again; the tests do so with all. The two listings are run by the function behind ``tf1bn run`` and compared with what
the real releases printed (tests/golden/article/listings.json).
"""

import collections
import contextlib
import io
import json
import os
import pathlib
import sys
import tempfile

# Releases before 2.5 did without it too, and with it fused layers round otherwise.
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests/support")]
PAGE = ROOT / "docs/fidelity.md"
PLAYED = 2

from golden.record import listings  # noqa: E402

# Features of the tables and the groups of cases, the first part of an id, that are recorded for them.
FEATURES = {
    "layouts, shapes, affine": "layout affine shapes size static_shape several_axes virtual combined",
    "decay, epsilon": "decay momentum epsilon",
    "is_training, updates": "is_training training updates control_flow use",
    "dtypes": "dtype",
    "renorm": "renorm renorm_clipping",
    "weights, zero debias, adjustment": "batch_weights zero_debias adjustment",
    "names, scopes, reuse": "scope names scopes reuse arg_scope partitioners getters collections call",
    "initializers, regularizers, constraints": "initializers regularizers constraints trainable",
    "mistakes": "mistake mistakes",
}


def feature_of(id):
    group = id.split("/")[0]
    return next((feature for feature, groups in FEATURES.items() if group in groups.split()), "other")


def by_number(version):
    return [int(part) for part in version.split(".")]


# ---------------------------------------------------------------- the listings


def run_listing(listing, release):
    """The numbers that a listing prints as it stands in a release, by the function behind `tf1bn run`."""
    import numpy as np

    from tf1bn.legacy import run_script

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, f"{listing}.py")
        # The file is the article's to the last byte; NumPy is seeded before it starts.
        path.write_text(listings.text_of(listing, seeded=False), encoding="utf-8")
        np.random.seed(2017)  # noqa: NPY002 (as the listings draw)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert run_script(str(path), release=release) == 0
    return listings.numbers_of(printed.getvalue())


def summary(numbers):
    """The numbers of a listing as the article speaks of them: (moving mean, moving variance, largest test - train)."""
    phase = 3 + 16
    train, test = numbers[3:phase], numbers[phase + 3 : phase + 19]
    return numbers[phase + 1], numbers[phase + 2], max(abs(a - b) for a, b in zip(train, test, strict=True))


def listing_rows(real):
    for release in [f"1.{minor}" for minor in range(16)]:
        version = next((version for version in real if version.rpartition(".")[0] == release), None)
        cells = [release]
        for listing in listings.LISTINGS:
            here = run_listing(listing, release)
            mean, variance, apart = summary(here)
            cells.append(f"{mean:.5f}, {variance:.4f}, {apart:.3g}")
            if version is None:
                cells.append("not run")
                continue
            there = real[version][listing]
            assert len(there) == len(here), (version, listing)
            mean, variance, apart = summary(there)
            off = max(abs(a - b) / max(abs(b), 1) for a, b in zip(here, there, strict=True))
            cells.append(f"{mean:.5f}, {variance:.4f}, {apart:.3g} ({version}; all within {off:.1g})")
        yield cells


# ---------------------------------------------------------------- the recordings


def doors():
    """For each recorded release and function: (version, name of the function, its cases, how to play, bounds)."""
    import replays
    from golden.record import cases, layers_cases, layers_errors, releases

    import tf1bn

    assert releases.LARGE
    tf = replays.WithoutGraphOptimizer()
    contrib = cases.Api(tf, tf1bn.batch_norm, tf1bn.contrib.framework.arg_scope)
    layers = layers_cases.Api(tf, tf1bn.batch_normalization, tf1bn.arg_scope)
    for folder in (ROOT / "tests/golden").glob("tf-1.*"):
        version, _, suffix = folder.name.removeprefix("tf-").partition("-")
        recorded = {
            id: result
            for path in sorted(folder.glob("*.json"))
            for id, result in json.loads(path.read_text("ascii"))["cases"].items()
        }
        if suffix:
            yield version, "batch_normalization", recorded, layers_cases.CASES, layers, layers_errors.errors_for
        else:
            yield version, "batch_norm", recorded, cases.CASES, contrib, lambda case: None


def without_order(version, function, id):
    """A function of the key of a number: whether the release gives it no order with updates; tests skip these too."""
    if version.startswith("1.15"):
        return lambda key: False
    from layers import test_recordings_core_releases, test_recordings_releases

    tests = {"batch_norm": test_recordings_releases, "batch_normalization": test_recordings_core_releases}[function]
    what = tests.deviation(version.rpartition(".")[0], id)
    if what in (test_recordings_releases.TESTED[0], test_recordings_core_releases.TESTED[0]):
        return test_recordings_releases.TESTED[0]
    return lambda key: False


def replay_all():
    """{(version, function, feature): [recorded graphs, numbers that are the same bits, all numbers]}."""
    import replays
    from golden.record import cases
    from modes import played_in

    import tf1bn

    counts = collections.defaultdict(lambda: [0, 0, 0])
    played = collections.Counter()
    for version, function, recorded, table, api, bounds_of in doors():
        release = version.rpartition(".")[0]
        floor = tf1bn.releases.get(release).epsilon_floor
        for id, there in recorded.items():
            row = counts[version, function, feature_of(id)]
            row[0] += 1
            tally, case = replays.Tally(), table[id]
            feature = version, function, feature_of(id)
            if case.twin is not None or "error" in there or "steps" not in there or played[feature] == PLAYED:
                continue
            played[feature] += 1
            with played_in("reference"), tf1bn.release(release):
                here = json.loads(json.dumps(cases.play(api, case)))
            if "error" not in here:
                left_out = without_order(version, function, id)
                found = replays.difference(case, here, there, floor, tally, left_out, bounds_of(case))
                assert found is None, (version, id, found)
            row[1] += tally.same
            row[2] += tally.all
    return counts


def table(header, rows):
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)) + "\n"


def recording_tables(counts):
    for function in ("batch_norm", "batch_normalization"):
        features = [f for f in (*FEATURES, "other") if any(key[1:] == (function, f) for key in counts)]
        versions = sorted({key[0] for key in counts if key[1] == function}, key=by_number)
        rows = []
        for version in versions:
            cells = []
            for feature in features:
                graphs, same, numbers = counts.get((version, function, feature), (0, 0, 0))
                share = f", {100 * same / numbers:.1f} %" if numbers else ""
                cells.append(f"{graphs}{share}" if graphs else "")
            rows.append([version, *cells])
        yield function, table(["recorded under", *features], rows)


HEAD = """# How near it is to each release

Written by `python tests/support/fidelity.py --write`, without oneDNN (TF_ENABLE_ONEDNN_OPTS=0), with which fused layers
round otherwise; the numbers are those of one machine.

## The article's two listings

Both listings as they stand, run as `tf1bn run --release R` does and by the real release, on the same random numbers.
Each cell says what the listing prints after training: moving mean, moving variance, and how far the test output is from
the training output at most. Listing 1 has decay 0, listing 2 decay 1. Real releases before 1.4 have no `tf.AUTO_REUSE`:
there `not is_training` stood in its place. "not run": that release was not installed.

"""
MIDDLE = """
Until 1.3 the test output repeats the training output at decay 0, which is what the article saw; from 1.4 on the default
layer is fused, its moving variance has the factor N/(N-1), and the outputs differ by 3 %.

## Recordings

For each release and feature: how many graphs were recorded under the real release, and which share of the numbers
(outputs, variables, gradients, losses) of the first two that run are the same bits when tf1bn builds and runs them.
The tests play all of them: every other number is within the rounding that the data allow, or is named as a deviation in
`tests/layers/test_recordings_*.py`. Without a share, the graphs end in an error. Left out are outputs while testing of
layers that update their statistics while testing (some of 1.0 and 1.1): the update and the output have no order, so
that they differ from run to run, under the real release too.
"""


def page():
    real = json.loads(listings_path().read_text("ascii"))
    header = ["release", "listing 1, tf1bn", "listing 1, real", "listing 2, tf1bn", "listing 2, real"]
    parts = [HEAD, table(header, listing_rows(real)), MIDDLE]
    for function, text in recording_tables(replay_all()):
        parts.append(f"\n`{function}`:\n\n{text}")
    return "".join(parts)


def listings_path():
    return pathlib.Path(listings.PATH)


if __name__ == "__main__":
    text = page()
    if "--write" in sys.argv[1:]:
        PAGE.write_text(text, encoding="utf-8")
    sys.exit(0 if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text else 1)
