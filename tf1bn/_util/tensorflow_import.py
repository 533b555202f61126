"""The import of TensorFlow for commands, with its start-up noise kept from the terminal."""

import contextlib
import os
import sys
import tempfile

from ..errors import CommandError


def import_tensorflow(verbose, start=True):
    """Import TensorFlow with its start-up noise kept from the terminal, unless it fails or ``verbose``.

    ``start=False`` starts none of its devices and threads: the noise of those comes later, but what the environment
    says by then about devices counts, and a process may be forked.
    """
    if "tensorflow" in sys.modules:
        return
    if not verbose:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    waiting = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not verbose
    # The noise is written by C++ before any log level is read, so the file descriptor itself is turned away.
    with tempfile.TemporaryFile() as noise, contextlib.ExitStack() as stack:
        if waiting:
            print("importing TensorFlow ...", end="", file=sys.stderr, flush=True)
            stack.callback(print, "\r\x1b[K", end="", file=sys.stderr, flush=True)
        if not verbose:
            sys.stderr.flush()
            kept = os.dup(2)
            os.dup2(noise.fileno(), 2)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, 2)
            stack.callback(sys.stderr.flush)
        try:
            import tensorflow

            if start:
                tensorflow.config.list_physical_devices()
                # TF 2.18 and 2.20 write a line at the first run of a graph, whatever the log level.
                config = tensorflow.compat.v1.ConfigProto(device_count={"GPU": 0})
                with tensorflow.Graph().as_default(), tensorflow.compat.v1.Session(config=config) as sess:
                    sess.run(tensorflow.no_op())
        except ImportError as error:
            stack.close()
            noise.seek(0)
            sys.stderr.write(noise.read().decode(errors="replace"))
            raise CommandError(
                f"TensorFlow could not be imported ({error}); install it with `pip install tensorflow`, or "
                "`tf1bn[tensorflow]`."
            ) from error
