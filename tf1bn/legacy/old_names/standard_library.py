"""What functions of Python's library did that have left it, or that do less since."""

import asyncio
import collections
import inspect
import threading

ArgSpec = collections.namedtuple("ArgSpec", "args varargs keywords defaults")


def getargspec(func):
    """The arguments of a function, as `inspect.getargspec` gave them until Python 3.10.

    Raises:
      ValueError: the function has keyword-only arguments or annotations, which it never knew.
    """
    spec = inspect.getfullargspec(func)
    if spec.kwonlyargs or spec.annotations:
        raise ValueError(
            f"`func` is {func!r}, which has keyword-only arguments or annotations; use inspect.getfullargspec."
        )
    return ArgSpec(spec.args, spec.varargs, spec.varkw, spec.defaults)


def get_event_loop(real, lent):
    """The loop of this thread; the main thread gets a new one where it has none."""
    try:
        return real()
    except RuntimeError:
        if threading.current_thread() is not threading.main_thread():
            raise
    lent()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop
