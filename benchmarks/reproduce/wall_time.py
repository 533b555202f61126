"""Wall time of the default reproduction against a bare ``import tensorflow``: whole processes, in turn, in one run.

    make bench NAME=wall_time       five pairs after a warm-up;  make bench NAME=wall_time ARGS="--pairs 9"

Prints the median of each and of the ratio pair by pair: a noisy machine slows both of a pair. Exit code 1 if the
median ratio is above the limit of 1.5.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time

LIMIT = 1.5
COMMANDS = {
    "import tensorflow": [sys.executable, "-c", "import tensorflow"],
    "tf1bn reproduce": [sys.executable, "-m", "tf1bn.reproduce"],
}


def seconds(command):
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    pairs = parser.parse_args().pairs
    times = {name: [] for name in COMMANDS}
    for i in range(pairs + 1):
        for name, command in COMMANDS.items():
            taken = seconds(command)
            if i:  # the first of each fills the page cache
                times[name].append(taken)
    bare, whole = times.values()
    ratio = statistics.median(b / a for a, b in zip(bare, whole, strict=True))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {pairs} pairs")
    for name, values in times.items():
        print(f"{name:<18} median {statistics.median(values):6.2f} s   min {min(values):6.2f}   max {max(values):6.2f}")
    print(f"{'ratio':<18} median {ratio:6.2f}     (limit {LIMIT})")
    return int(ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
