"""The import of TensorFlow for commands, with its start-up messages kept from the terminal."""

import contextlib
import gc
import os
import sys
import tempfile

from ..errors import CommandError


def import_tensorflow(verbose, start=True, own_process=False):
    """Import TensorFlow with its start-up messages kept from the terminal, unless the import fails.

    Args:
      verbose: whether to let the messages through.
      start: whether to start its devices and threads too, so that their messages are kept as well. Without it, the
        environment variables about devices may still be changed, and the process may be forked.
      own_process: whether nobody else's objects are in this process. Then the collector of garbage never goes through
        those that are alive after the import, and at the end of the process they are left to the system.

    Raises:
      CommandError: TensorFlow cannot be imported.
    """
    if "tensorflow" in sys.modules:
        return
    if not verbose:
        # What goes wrong is raised; what its libraries write besides is for those who ask for it.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    waiting = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not verbose
    # C++ writes the messages before it reads any log level, so the file descriptor itself is redirected.
    with tempfile.TemporaryFile() as messages, contextlib.ExitStack() as stack:
        if gc.isenabled():
            # Nearly all that the import makes stays, and is gone through again and again for a fifth of its time.
            gc.disable()
            stack.callback(gc.enable)
        if waiting:
            print("importing TensorFlow ...", end="", file=sys.stderr, flush=True)
            stack.callback(print, "\r\x1b[K", end="", file=sys.stderr, flush=True)
        if not verbose:
            sys.stderr.flush()
            kept = os.dup(2)
            os.dup2(messages.fileno(), 2)
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
            if own_process:
                gc.freeze()
        except ImportError as error:
            stack.close()
            messages.seek(0)
            sys.stderr.write(messages.read().decode(errors="replace"))
            raise CommandError(
                f"TensorFlow could not be imported ({error}); install it with `pip install tensorflow`, or "
                "`tf1bn[tensorflow]`."
            ) from error
