"""Runs an old script as Python would, in this process, and puts everything back afterwards."""

import atexit
import contextlib
import glob
import importlib.machinery
import importlib.util
import os
import signal
import sys
import sysconfig
import threading
import traceback
import types

from .. import releases
from ..errors import CommandError
from . import python2_source
from .process_state import in_force, kept_process, tensorflow_1

_PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
# Their frames are cut from the traceback of a script.
_OWN_FILES = {
    os.path.join(os.path.dirname(os.path.dirname(__file__)), *name.split("/"))
    for name in (
        "legacy/runner.py",
        "legacy/python2_source.py",
        "legacy/tensorflow_module.py",
        "recorders/all_sessions.py",
        "recorders/session.py",
        "contrib/__init__.py",
    )
}


def run_script(script, args=(), *, release="1.15", record=None, module=False):
    """Run ``script`` with ``args`` on today's TensorFlow as if it were the TensorFlow ``release``.

    The default graph and sessions are the script's. What it changes in this process is put back: the environment,
    ``sys.argv``, ``sys.path``, the working directory, its own modules, warning filters, log handlers, flags, and
    whether TensorFlow behaves as its version 2. Installed packages that it imports stay imported.

    Args:
      script: path of the script, or with `module` the name of a module that ``python -m`` would run.
      args: its arguments, strings.
      release: "1.0" to "1.15"; see `tf1bn.release`.
      record: None, or the folder for a trace of the session; of several sessions that run layers, the second goes to
        ``record.2``, and so on.

    Returns:
      The status that Python would have ended with: the script's own in ``sys.exit``, 1 after an uncaught exception,
      whose traceback is on stderr, and 130 after Ctrl-C; 2 if the script ended well but the recording did not.

    Raises:
      CommandError: there is no such script, it is Python 2 and fissix is missing, TensorFlow is missing, `release` is
        none or this tf1bn has no releases, or there is something at `record`.
    """
    try:
        releases.get(release)
    except ValueError as error:
        raise CommandError(str(error)) from error
    with contextlib.ExitStack() as stack:
        stack.enter_context(kept_process())
        if module:
            sys.path.insert(0, os.getcwd())
        else:
            data = _read(script)
            sys.path.insert(0, os.path.dirname(os.path.realpath(script)))
        if record is not None:
            _check_free(record)
        _import_tensorflow()
        from .tensorflow_module import OldTensorFlow

        old = OldTensorFlow(release, _own_folders(sys.path[0]))
        stack.callback(old.forget, set(sys.modules))
        at_exit = stack.enter_context(_AtExit(old.builtins))
        sys.meta_path.insert(0, old)
        sys.argv = ["-m" if module else script, *args]
        stack.enter_context(tensorflow_1())
        stack.enter_context(in_force(release))
        recording = None
        if record is not None:
            from ..recorders.all_sessions import Recording

            recording = stack.enter_context(Recording(record))
        status = _execute(
            lambda: _main_of_module(script, old) if module else _main_of_script(script, data, old), at_exit.run
        )
        stack.close()
    return status if recording is None else _report(recording, record, status)


class _AtExit:
    """While it is entered, it takes what the script gives to `atexit`; ``run`` does that at the script's end."""

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
        while self._waiting:
            func, args, kwargs = self._waiting.pop()
            try:
                func(*args, **kwargs)
            except BaseException as error:
                print(f"Exception ignored in atexit callback: {func!r}", file=sys.stderr)
                _print_exception(error)


def _execute(prepared, at_exit):
    """Run the code in the main module that ``prepared()`` gives, its threads to their end, and ``at_exit()``.

    Exceptions, of its syntax too, become a status as Python makes it.
    """
    interrupted, threads, status = [], set(threading.enumerate()), 0

    def interrupt(number, frame):
        interrupted.append(number)
        raise KeyboardInterrupt

    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            stack.callback(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, interrupt))
        try:
            code, main = prepared()
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
    if code is None:
        return 0
    if isinstance(code, int):
        return int(code)
    print(code, file=sys.stderr)
    return 1


def _print_exception(error):
    """The traceback as Python prints it: without what runs the script."""
    seen, waiting = set(), [error]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = _of_script(one.__traceback__)
        group = getattr(one, "exceptions", None)
        waiting += (one.__cause__, one.__context__, *(group if isinstance(group, tuple | list) else ()))
    if sys.excepthook is not sys.__excepthook__:
        sys.excepthook(type(error), error, error.__traceback__)
        return
    sys.stdout.flush()
    print("".join(traceback.format_exception(error)), end="", file=sys.stderr, flush=True)


def _of_script(trace):
    """A traceback without the frames of this package and of the import system."""
    kept = []
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file not in _OWN_FILES and not file.startswith("<frozen importlib"):
            kept.append(trace)
        trace = trace.tb_next
    for one in reversed(kept):
        trace = types.TracebackType(trace, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return trace


def _report(recording, path, status):
    """Say on stderr what was recorded; the status, or 2 in the place of 0 if that failed."""
    for folder, steps, layers in recording.traces:
        counted = f"{steps} step{'s' * (steps != 1)} of {layers} layer{'s' * (layers != 1)}"
        print(f"tf1bn run: {counted} recorded in {folder}.", file=sys.stderr)
    if recording.partial:
        counted = f"{recording.partial} step{'s' * (recording.partial != 1)}"
        print(f"tf1bn run: {counted} in `partial_run` cannot be recorded, and no trace has them.", file=sys.stderr)
        status = status or 2
    if recording.problem is not None:
        print(f"tf1bn run: {recording.problem}.", file=sys.stderr)
        return status or 2
    if not recording.traces:
        print(f"tf1bn run: no layer took part in any run of the script; {path} was not written.", file=sys.stderr)
    elif not any(steps for _, steps, _ in recording.traces):
        print("tf1bn run: no run of a layer could be recorded; the traces say why.", file=sys.stderr)
    return status


# ---- what is checked before ----


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
    numbered = [found for found in glob.glob(f"{glob.escape(record)}.*") if found[len(record) + 1 :].isdigit()]
    found = ([record] if os.path.lexists(record) else []) + sorted(numbered)
    if found:
        raise CommandError(
            f"`--record` is {record!r}, and there is {found[0]} already; remove it or name another folder."
        )
    above = os.path.dirname(os.path.realpath(record))
    if not os.path.isdir(above) or not os.access(above, os.W_OK):
        raise CommandError(f"`--record` is {record!r}, but no folder can be made in {above!r}; name another.")


def _import_tensorflow():
    from .tensorflow_module import has_legacy_keras

    if "tensorflow" not in sys.modules and has_legacy_keras():
        # `tf.layers` of TensorFlow 2 is in that Keras alone, and it is chosen when TensorFlow is imported.
        os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    from .._util.tensorflow_import import import_tensorflow

    import_tensorflow(False, start=False)


def _main_of_script(script, data, old):
    path = os.path.abspath(script)
    main = _new_main(path, old)
    main.__loader__ = importlib.machinery.SourceFileLoader("__main__", path)
    old.python2 = python2_source.is_python2(data, path, sys.path[0])
    return python2_source.compiled(data, path, python2=old.python2), main


def _main_of_module(name, old):
    if not all(name.split(".")):
        raise CommandError(f"`script` is {name!r}, which is no module's name; give one such as package.module.")
    above = name.rpartition(".")[0]
    try:
        if above:
            __import__(above)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            __import__(name)
            spec = importlib.util.find_spec(f"{name}.__main__")
    except ImportError as error:
        # What a package above imports and does not find is another matter.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise CommandError(f"`script` is {name!r}, and there is no such module: {error}.") from error
    if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
        raise CommandError(f"`script` is {name!r}, and there is no such module with a source; its path has no -m.")
    data = spec.loader.get_data(spec.origin)
    old.python2 = python2_source.is_python2(data, spec.origin, sys.path[0])
    main = _new_main(spec.origin, old)
    main.__spec__, main.__loader__, main.__package__ = spec, spec.loader, spec.parent
    sys.argv[0] = spec.origin
    return python2_source.compiled(data, spec.origin, bool(spec.parent), old.python2), main


def _new_main(path, old):
    main = types.ModuleType("__main__")
    main.__file__, main.__cached__, main.__builtins__ = path, None, old.builtins
    sys.modules["__main__"] = main
    return main


def _own_folders(first):
    """A function from a folder to whether modules there are the script's: below its folder, and what it adds."""
    foreign = {os.path.realpath(entry) for entry in sys.path[1:] if entry not in _python_path()}
    standard = [os.path.realpath(sysconfig.get_paths()[name]) for name in ("stdlib", "platstdlib")]
    standard.append(_PACKAGE)
    first = os.path.realpath(first)

    def own(folder):
        folder = os.path.realpath(folder)
        if any(folder == other or folder.startswith(other + os.sep) for other in standard):
            return False
        # A virtual environment inside the project.
        if {"site-packages", "dist-packages"} & (set(folder.split(os.sep)) - set(first.split(os.sep))):
            return False
        own_entries = {os.path.realpath(entry) for entry in sys.path} - foreign | {first}
        return any(folder == entry or folder.startswith(entry + os.sep) for entry in own_entries)

    return own


def _python_path():
    """The entries of PYTHONPATH where a project keeps its modules; those with installed packages are not."""
    entries = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return [entry for entry in entries if not glob.glob(os.path.join(glob.escape(entry), "*.dist-info"))]
