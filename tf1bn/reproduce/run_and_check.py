"""Runs and checks everything that ``tf1bn reproduce`` was asked for, and makes the JSON's dict of it.

Importing this module imports TensorFlow.
"""

import dataclasses
import math
import os

import numpy as np
import tensorflow as tf

from .. import __version__
from . import article, decay_sweep, devices, experiment, options
from .conclusions import check_conclusions, release_summary
from .listing_check import ArticleComparison, Check, check_run, compare_with_article
from .variants.run import VariantResults, check_variants, variant_devices


@dataclasses.dataclass(frozen=True)
class Listing:
    """A run of the article's listing and what the checker says about it.

    Attributes:
      run: the `experiment.Run`.
      check: its `listing_check.Check`.
      comparison: with the numbers that the article printed; None for a run that is not in the article.
    """

    run: experiment.Run
    check: Check
    comparison: ArticleComparison | None = None


@dataclasses.dataclass(frozen=True)
class Measurements:
    """Everything that was run.

    Attributes:
      article: the article's two runs, with the layer that its author had; lists of `Listing`, as are the next two.
      fused: the same with the default layer of TF 1.15.
      further: the runs that were asked for besides.
      sweep: the training runs over many steps, one for each decay.
      sweep_rows: the rows of the JSON for the sweep, those to be shown first.
      shown_decays: the number of rows to be shown.
      variants: the variants of the layer, if they were asked for.
    """

    article: list[Listing]
    fused: list[Listing]
    further: list[Listing]
    sweep: experiment.Sweep
    sweep_rows: list[dict]
    shown_decays: int
    variants: VariantResults

    @property
    def reported(self):
        """The runs that the JSON lists, the article's own first."""
        return [*self.article, *self.further]

    @property
    def checked(self):
        """All runs of the listing."""
        return [*self.article, *self.further, *self.fused]


def measure_all(args, further, say=lambda what: None):
    """Run and check everything; returns `Measurements`.

    Args:
      args: the parsed options.
      further: the `options.FurtherRun` that they ask for.
      say: called with what is done, as "running ...", before each part.
    """
    device = "gpu" if args.device == "both" else args.device
    articles = [_article_run(printed, device) for printed in article.EXPERIMENTS]
    fused = [
        _run(experiment.Spec(printed.decay, True, "1.15", "article", printed.batch()), device)
        for printed in article.EXPERIMENTS
    ]
    decays = tuple(dict.fromkeys(args.decay or options.DECAYS))
    sweep = _run_sweep(decays, args.steps, device, say)
    others = []
    for run in further:
        shape = "x".join(map(str, run.shape))
        say(f"running decay {options.decay_text(run.decay)} on {run.input} input of {shape}, and recomputing it")
        others.append(_run(_spec(run), device))
    say("running the variants of the layer")
    listings = [*articles, *others, *fused]
    variants = check_variants(
        variant_devices(args.device, args.variants), [(listing.run, listing.check) for listing in listings]
    )
    return Measurements(articles, fused, others, sweep, decay_sweep.sweep_rows(sweep), len(decays), variants)


def _run(spec, device):
    run = experiment.run_listing(spec, device)
    return Listing(run, check_run(run))


def _article_run(printed, device):
    spec = experiment.Spec(printed.decay, False, options.ARTICLE_RELEASE, "article", printed.batch())
    listing = _run(spec, device)
    return dataclasses.replace(listing, comparison=compare_with_article(listing.run, listing.check, printed))


def _spec(run):
    """The `experiment.Spec` of an `options.FurtherRun`."""
    if run.input == "random":
        batch = np.random.default_rng(run.seed).uniform(0, 255, run.shape).astype(np.float32)
    else:
        batches = {printed.decay: printed.batch() for printed in article.EXPERIMENTS}
        batch = batches.get(run.decay, batches[0])
    return experiment.Spec(run.decay, run.fused, run.release, run.input, batch)


def _run_sweep(decays, steps, device, say):
    """The sweep over ``decays`` and the article's two, on which conclusion 3 is checked whatever decays are given."""
    decays = (*decays, *(printed.decay for printed in article.EXPERIMENTS if printed.decay not in decays))
    test_steps = {int(step) for step in np.geomspace(1, steps, 24)}
    test_steps |= {decay_sweep.steps_to_carry(decay) or 0 for decay in decays}

    def progress(done):
        say(f"sweep: {done:,} of {steps:,} training steps")

    progress(0)
    return experiment.run_sweep(article.EXPERIMENTS[0].batch(), decays, steps, test_steps, device, progress=progress)


def to_result(measured, args, further):
    """The JSON's dict of `Measurements`; ``args`` and ``further`` as in `measure_all`."""
    conclusions = check_conclusions(*_pair(measured.article), measured.sweep)
    used = measured.sweep.devices.union(*(listing.run.devices for listing in measured.checked))
    problems = _problems(measured)
    undecidable = _undecidable(measured, args.device, used)
    return {
        "format": options.FORMAT,
        "ok": not problems and not undecidable and all(row["holds"] for row in conclusions),
        "tf1bn": __version__,
        "tensorflow": tf.__version__,
        "device": {
            "requested": args.device,
            "used": ", ".join(sorted(used | measured.variants.devices, reverse=True)) or "nowhere",
            "details": devices.details(),
        },
        "runs": [_run_json(listing) for listing in measured.reported],
        "conclusions": conclusions,
        "releases": [
            release_summary("1.3", *_pair(measured.article)),
            release_summary("1.15", *_pair(measured.fused)),
        ],
        "sweep": measured.sweep_rows[: measured.shown_decays],
        "variants": measured.variants.rows,
        "side_by_side": measured.variants.side_by_side,
        "notes": [article.SLIP, *_notes(args, further), *measured.variants.notes],
        "problems": problems,
        # The key is older than the verdict "undecidable", and no key of a format is renamed.
        "undecided": undecidable,
    }


def _pair(listings):
    """The runs with decay 0 and 1, and the list of their checks."""
    return *(listing.run for listing in listings), [listing.check for listing in listings]


def _problems(measured):
    """All findings, as sentences."""
    problems = [
        f"decay {listing.run.spec.decay:g}, {listing.run.spec.layer}, {listing.run.spec.input} input: {problem}"
        for listing in measured.checked
        for problem in listing.check.problems
    ]
    problems += [
        f"sweep, decay {row['decay']:g}: the checker does not agree" for row in measured.sweep_rows if not row["agrees"]
    ]
    problems += [
        f"decay {listing.run.spec.decay:g}: a number that the article printed is farther away than float32 allows"
        for listing in measured.article
        if not listing.comparison.agrees
    ]
    return problems + measured.variants.problems


def _undecidable(measured, device, used):
    """What could not be decided or did not run on the ``device`` that was asked for, as sentences.

    Args:
      used: the devices on which the listings and the sweep ran, such as {"CPU:0"}.
    """
    sentences = [
        f"decay {listing.run.spec.decay:g}, {listing.run.spec.input} input: {sentence}"
        for listing in measured.checked
        for sentence in listing.check.undecidable
    ]
    elsewhere = sorted(name for name in used if device in ("gpu", "both") and not name.startswith("GPU"))
    if elsewhere:
        some = "some of " if len(elsewhere) < len(used) else ""
        sentences.append(
            f"device 'gpu' was asked for, but {some}the batch-norm operations ran on {', '.join(elsewhere)}; "
            "--verbose shows TensorFlow's log"
        )
    return sentences + measured.variants.undecidable


def _notes(args, further):
    """What the user should know about the runs that were asked for, and about the device."""
    if not further and any(value is not None for value in (args.release, args.fused, args.input)):
        yield "What was asked for is exactly the article's own two runs, so nothing was run besides them."
    if any(run.input == "article" and run.decay not in (0, 1) for run in further):
        yield "For a decay that the article did not use, the input is that of its first experiment (decay 0)."
    if any(math.prod(run.shape[:-1]) == 1 for run in further):
        yield (
            "There is one value per channel in the asked-for input: its variance is 0 and every training output is "
            "beta, whatever the input, so such a run shows nothing about the data."
        )
    if args.device == "auto" and os.path.exists("/dev/nvidia0") and not devices.has_gpu():
        yield "This machine has an NVIDIA device, but TensorFlow sees no GPU, so the CPU was used; --verbose shows why."


def _run_json(listing):
    run, check, comparison = listing.run, listing.check, listing.comparison
    spec = run.spec
    return {
        "decay": spec.decay,
        "fused": run.ran_fused,
        "release": spec.release,
        "input": spec.input,
        "shape": list(spec.batch.shape),
        "operations": [placement._asdict() for placement in run.placements],
        "phases": [
            {
                "name": phase.name,
                "output": phase.output.ravel().tolist(),
                **{
                    f"{name}_{when}": values[name].tolist()
                    for name in experiment.STATISTICS
                    for when, values in (("before", phase.before), ("after", phase.after))
                },
            }
            for phase in run.phases
        ],
        "checker": {
            **{name: getattr(check, name).tolist() for name in ("mean", "variance", "mean_bound", "variance_bound")},
            "agrees": check.agrees,
            "problems": list(check.problems),
            "undecided": list(check.undecidable),
        },
        "article": None if comparison is None else _comparison_json(comparison),
    }


def _comparison_json(comparison):
    return {
        "max_output_difference": comparison.max_output_difference,
        "agrees": comparison.agrees,
        "outputs_agree": comparison.outputs_agree,
        "differences": {name: value.ravel().tolist() for name, value in comparison.differences.items()},
        "allowed": {name: value.ravel().tolist() for name, value in comparison.allowed.items()},
    }
