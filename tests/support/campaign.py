"""The command line of a fuzzer that has several kinds of cases, each with cases by seed and number."""

import argparse
import tempfile
import time
import warnings


def run(description, option, kinds, bench_of, case, what):
    """Run the cases that the command line asks for; returns the exit code, 1 if one failed.

    Args:
      option: the name of the option that chooses a kind, such as "kind"; kinds: their names.
      bench_of: ``bench_of(folder, kind)`` makes what the cases of a kind run with; the folder is that of all kinds.
      case: ``case(bench, kind, seed, index)`` runs one, and returns its outcome.
      what: what the cases are called, before their outcomes.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument(f"--{option}", choices=kinds)
    args = parser.parse_args()
    chosen = getattr(args, option)
    warnings.simplefilter("error")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds if chosen is None else [chosen]:
            outcomes, slowest = {}, 0.0
            bench = bench_of(folder, kind)
            for index in range(args.first, args.first + args.count):
                start = time.perf_counter()
                try:
                    outcome = case(bench, kind, args.seed, index)
                except BaseException as error:
                    failed += 1
                    outcome = "failed"
                    text = f"{type(error).__name__}: {error}"[:300]
                    print(f"--{option} {kind} --seed {args.seed} --first {index} --count 1: {text}", flush=True)
                    if args.count == 1 or isinstance(error, KeyboardInterrupt):
                        raise
                outcomes[outcome] = outcomes.get(outcome, 0) + 1
                slowest = max(slowest, time.perf_counter() - start)
            print(f"{kind}: {args.count} {what}: {outcomes}, slowest {slowest:.1f} s", flush=True)
    return int(failed > 0)
