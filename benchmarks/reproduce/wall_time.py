"""Time of the default reproduction against a bare ``import tensorflow``: whole processes, in turn, in one run.

    make bench NAME=wall_time       five pairs after a warm-up;  make bench NAME=wall_time ARGS="--pairs 9"

Prints wall and processor time, and the medians of the ratios pair by pair: a noisy machine slows both of a pair. Exit
code 1 if that of the wall times is above the limit of 1.25.
"""

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import time

LIMIT = 1.25
COMMANDS = {
    "import tensorflow": [sys.executable, "-c", "import tensorflow"],
    "tf1bn reproduce": [sys.executable, "-m", "tf1bn.reproduce"],
}


def seconds(command):
    """Wall and processor time of a process and its children."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


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
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {pairs} pairs")
    ratios = []
    for i, kind in enumerate(("wall", "processor")):
        values = {name: [taken[i] for taken in all_taken] for name, all_taken in times.items()}
        for name, each in values.items():
            print(
                f"{kind:<10} {name:<18} median {statistics.median(each):6.2f} s   min {min(each):6.2f}   "
                f"max {max(each):6.2f}"
            )
        ratios.append(statistics.median(b / a for a, b in zip(*values.values(), strict=True)))
        print(f"{kind:<10} {'ratio':<18} median {ratios[-1]:6.2f}")
    print(f"limit of the ratio of wall times: {LIMIT}")
    return int(ratios[0] > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
