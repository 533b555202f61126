"""Runs an old script as Python would, in this process, and puts everything back afterwards."""

import atexit
import contextlib
import glob
import importlib.machinery
import importlib.util
import os
import signal
import sys
import threading
import traceback
import types
from collections.abc import Mapping, Sequence
from typing import Any

from .. import contrib, releases
from .._util.printable import printable
from .._util.text import counted
from ..errors import CommandError
from . import python2_translation
from .old_names.lending import OldNames
from .own_modules import own_folders
from .process_state import in_force, restored_process, tensorflow_1

# What runs and records a script, and finds the names of `tf.contrib`: such frames are left out of its tracebacks.
_HIDDEN = (
    *(os.path.join(os.path.dirname(os.path.dirname(__file__)), room, "") for room in ("legacy", "recorders")),
    contrib.__file__,
    "<frozen importlib",
)


def run_script(
    script: str | os.PathLike[str],
    args: Sequence[str] = (),
    *,
    release: str = "1.15",
    record: str | None = None,
    module: bool = False,
    limits: Mapping[str, Any] | None = None,
    python2: bool = False,
    as_is: bool = False,
    verbose: bool = False,
) -> int:
    """Run ``script`` with ``args`` on today's TensorFlow as if it were the TensorFlow ``release``.

    The default graph and sessions are the script's. What it changes in this process is put back: the environment,
    ``sys.argv``, ``sys.path``, the working directory, its own modules, warning filters, log handlers, flags, and
    whether TensorFlow behaves as its version 2. Installed packages that it imports stay imported.

    Args:
      script: path of the script, or with `module` the name of a module that ``python -m`` would run.
      args: the arguments of the script.
      release: "1.0" to "1.15"; see `tf1bn.release`.
      record: None, or the folder for a trace of the session; of several sessions that run layers, the second goes to
        ``record.2``, and so on.
      limits: None, or what limits each recording, arguments of `tf1bn.Recorder` by name: keep, every, steps, layers,
        max_bytes.
      python2: whether the script is Python 2 even if Python 3 can run it, and divides integers otherwise; a first line
        that names python2 says the same.
      as_is: whether the script gets what is installed alone, and none of the names of Python, NumPy and others that
        have left since its time.
      verbose: whether the log of TensorFlow's libraries goes to stderr, unless the environment says otherwise.

    Returns:
      The status that Python would have ended with: the script's own in ``sys.exit``, 1 after an uncaught exception,
      whose traceback is on stderr, and 130 after Ctrl-C; 2 if the script ended well but the recording did not.

    Raises:
      CommandError: there is no such script, it is Python 2 and fissix is missing, TensorFlow is missing, there is no
        such `release`, or something exists at `record`.
    """
    try:
        releases.get(release)
    except ValueError as error:
        raise CommandError(str(error)) from error
    with contextlib.ExitStack() as stack:
        stack.enter_context(restored_process())
        if module:
            sys.path.insert(0, os.getcwd())
        else:
            data = _read(script)
            sys.path.insert(0, os.path.dirname(os.path.realpath(script)))
        if record is not None:
            _check_free(record)
        _import_tensorflow(verbose)
        from .tensorflow_module import OldTensorFlow

        old_names = None if as_is else OldNames(_say)
        old = OldTensorFlow(release, own_folders(sys.path[0]), old_names)
        stack.callback(old.forget, set(sys.modules))
        at_exit = stack.enter_context(_AtExit(old.builtins))
        sys.meta_path.insert(0, old)
        sys.argv = ["-m" if module else script, *args]
        stack.enter_context(tensorflow_1())
        stack.enter_context(in_force(release))
        from .old_names.numpy_names import numbers_without_type
        from .python2_tensorflow import fetched_strings

        if not as_is:
            stack.enter_context(numbers_without_type())
        stack.enter_context(fetched_strings(lambda: old.python2))
        recording = None
        if record is not None:
            from ..recorders.all_sessions import Recording

            recording = stack.enter_context(Recording(record, limits))
        status = _execute(
            lambda: _main_of_module(script, old, python2) if module else _main_of_script(script, data, old, python2),
            at_exit.run,
        )
        stack.close()
    if old_names is not None and old_names.lent:
        lent = sorted(old_names.lent)
        _say(f"{counted(len(lent), 'old name')} {'was' if len(lent) == 1 else 'were'} lent: {', '.join(lent)}")
    return status if recording is None else _report(recording, record, status)


class _AtExit:
    """While entered, keeps the functions that the script registers with `atexit`; ``run`` calls them at its end."""

    def __init__(self, own_builtins):
        self._builtins, self._waiting = own_builtins, []

    def __enter__(self):
        self._replaced = atexit.register, atexit.unregister
        register, unregister = self._replaced

        def register_own(func, *args, **kwargs):
            if sys._getframe(1).f_builtins is not self._builtins:
                return register(func, *args, **kwargs)
            self._waiting.append((func, args, kwargs))
            return func

        def unregister_own(func):
            self._waiting = [waiting for waiting in self._waiting if waiting[0] != func]
            unregister(func)

        atexit.register, atexit.unregister = register_own, unregister_own
        return self

    def __exit__(self, *error):
        atexit.register, atexit.unregister = self._replaced

    def run(self):
        """Call the functions, the last one first."""
        while self._waiting:
            func, args, kwargs = self._waiting.pop()
            try:
                func(*args, **kwargs)
            except BaseException as error:
                print(f"Exception ignored in atexit callback: {func!r}", file=sys.stderr)
                _print_exception(error)


def _execute(prepare, at_exit):
    """Run a script, wait for its threads, and call ``at_exit()``; returns the status with which Python would end.

    Args:
      prepare: a function that returns the code of the script and its main module.
    """
    interrupted, threads, status = [], set(threading.enumerate()), 0

    def interrupt(number, frame):
        interrupted.append(number)
        raise KeyboardInterrupt

    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            stack.callback(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, interrupt))
        try:
            code, main = prepare()
            exec(code, main.__dict__)
        except CommandError:
            raise
        except SystemExit as error:
            status = _status(error.code)
        except BaseException as error:
            _print_exception(error)
            # TensorFlow turns a KeyboardInterrupt inside its own code into errors of its own.
            status = 130 if interrupted or isinstance(error, KeyboardInterrupt) else 1
        try:
            while waited := [t for t in threading.enumerate() if t not in threads and not t.daemon]:
                waited[0].join()
            at_exit()
        except KeyboardInterrupt:
            return 130
    return status


def _status(code):
    """The exit status for the argument of ``sys.exit``; a message is printed as Python does."""
    if code is None:
        return 0
    if isinstance(code, int):
        return int(code)
    print(code, file=sys.stderr)
    return 1


def _print_exception(error):
    """Print the traceback as Python does, without the frames of what runs the script, and what can be done."""
    seen, waiting = set(), [error]
    while waiting:
        linked = waiting.pop()
        if not isinstance(linked, BaseException) or id(linked) in seen:
            continue
        seen.add(id(linked))
        linked.__traceback__ = _of_script(linked.__traceback__)
        group = getattr(linked, "exceptions", None)
        waiting += (linked.__cause__, linked.__context__, *(group if isinstance(group, tuple | list) else ()))
    if sys.excepthook is not sys.__excepthook__:
        sys.excepthook(type(error), error, error.__traceback__)
    else:
        sys.stdout.flush()
        print("".join(traceback.format_exception(error)), end="", file=sys.stderr, flush=True)
    from .old_names.numpy_names import note_on

    if (note := note_on(error)) is not None:
        _say(note)


def _of_script(trace):
    """A traceback without the frames of what runs the script and of the import system."""
    shown = []
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_HIDDEN):
            shown.append(trace)
        trace = trace.tb_next
    for entry in reversed(shown):
        trace = types.TracebackType(trace, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return trace


def _report(recording, path, status):
    """Print to stderr what was recorded; returns the status, or 2 instead of 0 if the recording failed."""
    for folder, steps, layers in recording.traces:
        size, problem = recording.details[folder]
        text = f"{counted(steps, 'step')} of {counted(layers, 'layer')} recorded in {folder}, {size}"
        _say(text if problem is None else f"{text}; {problem}")
    if recording.partial:
        _say(f"{counted(recording.partial, 'step')} in `partial_run` cannot be recorded, and no trace has them")
        status = status or 2
    if recording.problem is not None:
        _say(recording.problem)
        return status or 2
    if not recording.traces:
        _say(f"no layer took part in any run of the script; {path} was not written")
        return status or 2
    elif not any(steps for _, steps, _ in recording.traces):
        _say("no run of a layer could be recorded; the traces say why")
    return status


def _say(sentence):
    print(f"tf1bn run: {printable(sentence)}.", file=sys.stderr)


# ---- before the script runs ----


def _read(script):
    try:
        with open(script, "rb") as stream:
            return stream.read()
    except OSError as error:
        advice = "For a module, as in `python -m`, give -m."
        if script == "-":
            advice = "Write what comes from the standard input to a file first."
        elif isinstance(error, IsADirectoryError):
            advice = f"Give the script in it, such as {os.path.join(script, '__main__.py')!r}."
        raise CommandError(
            f"`script` is {script!r}, which could not be read: {error.strerror or error}. {advice}"
        ) from error


def _check_free(record):
    """Raises CommandError unless the folders of the traces can be made."""
    numbered = [path for path in glob.glob(f"{glob.escape(record)}.*") if path[len(record) + 1 :].isdigit()]
    existing = ([record] if os.path.lexists(record) else []) + sorted(numbered)
    if existing:
        raise CommandError(
            f"`--record` is {record!r}, and there is {existing[0]} already; remove it or name another folder."
        )
    above = os.path.dirname(os.path.realpath(record))
    if not os.path.isdir(above) or not os.access(above, os.W_OK):
        raise CommandError(f"`--record` is {record!r}, but no folder can be made in {above!r}; name another.")


def _import_tensorflow(verbose):
    from .tensorflow_module import has_legacy_keras

    if "tensorflow" not in sys.modules and has_legacy_keras():
        # `tf.layers` of TensorFlow 2 is in that Keras alone, and it is chosen when TensorFlow is imported.
        os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    from .._util.tensorflow_import import import_tensorflow

    import_tensorflow(verbose, start=False)


def _main_of_script(script, data, old, python2):
    path = os.path.abspath(script)
    main = _new_main(path, old)
    main.__loader__ = importlib.machinery.SourceFileLoader("__main__", path)
    old.python2 = python2 or python2_translation.is_python2(data, path, sys.path[0])
    return old.compiled(data, path, False), main


def _main_of_module(name, old, python2):
    if not all(name.split(".")):
        raise CommandError(f"`script` is {name!r}; it must be the name of a module, such as package.module.")
    above = name.rpartition(".")[0]
    try:
        if above:
            __import__(above)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            __import__(name)
            spec = importlib.util.find_spec(f"{name}.__main__")
    except ImportError as error:
        # An import inside a package above may fail too; that error is the script's.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise CommandError(f"`script` is {name!r}, and there is no module of that name: {error}.") from error
    if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
        raise CommandError(
            f"`script` is {name!r}, and there is no module of that name with a source; leave out -m for a path."
        )
    data = spec.loader.get_data(spec.origin)
    old.python2 = python2 or python2_translation.is_python2(data, spec.origin, sys.path[0])
    main = _new_main(spec.origin, old)
    main.__spec__, main.__loader__, main.__package__ = spec, spec.loader, spec.parent
    sys.argv[0] = spec.origin
    return old.compiled(data, spec.origin, bool(spec.parent)), main


def _new_main(path, old):
    main = types.ModuleType("__main__")
    main.__file__, main.__cached__, main.__builtins__ = path, None, old.builtins
    sys.modules["__main__"] = main
    return main
