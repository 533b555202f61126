"""The threads of the package, in the process of the tests."""

import threading


def threads_left():
    """How many threads of the package there are; a script's queues, of another test, may have some too."""
    return sum(thread.name == "tf1bn" for thread in threading.enumerate())
