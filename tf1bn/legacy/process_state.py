"""The state of this process that an old script may change, and that is put back afterwards."""

import contextlib
import functools
import logging
import numbers
import os
import sys
import warnings

from ..layers import release_scope


@contextlib.contextmanager
def restored_process():
    """Puts back what a script may change in this process, when the block is left."""
    before = os.environ.copy(), sys.argv, list(sys.path), list(sys.meta_path), dict(sys.modules), os.getcwd()
    hooks = {name: getattr(sys, name) for name in ("excepthook", "displayhook", "stdin", "stdout", "stderr")}
    root = logging.getLogger()
    handlers = list(root.handlers)
    levels = {logger: logger.level for logger in (root, logging.getLogger("tensorflow"), logging.getLogger("absl"))}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`tf\.(layers|nn\.rnn_cell)\.", UserWarning)
            yield
    finally:
        environment, sys.argv, sys.path[:], sys.meta_path[:], modules, folder = before
        for name, hook in hooks.items():
            if name.startswith("std") and getattr(sys, name) is not hook:
                _streams.append(getattr(sys, name))
                with contextlib.suppress(AttributeError, OSError, ValueError):
                    _streams[-1].flush()
            setattr(sys, name, hook)
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
        sys.modules.update({name: module for name, module in modules.items() if name not in sys.modules})
        sys.modules["__main__"] = modules["__main__"]
        with contextlib.suppress(OSError):
            os.chdir(folder)
        root.handlers[:] = handlers
        for logger, level in levels.items():
            logger.setLevel(level)


# Streams with which scripts replaced those of Python; without a reference here they would close what they wrap.
_streams = []


@contextlib.contextmanager
def in_force(name):
    """Puts the release ``name`` of TensorFlow 1.x in force, in this thread and in those that the script starts."""
    with release_scope.release(name), release_scope.everywhere(name):
        yield


@contextlib.contextmanager
def tensorflow_1():
    """Makes TensorFlow behave as its version 1, with a default graph and flags that are the script's."""
    import tensorflow
    from absl import flags

    tf = tensorflow.compat.v1
    eager, before = tensorflow.executing_eagerly(), tf.get_default_session()
    switches = [
        (tf.resource_variables_enabled(), tf.enable_resource_variables, tf.disable_resource_variables),
        (tf.control_flow_v2_enabled(), tf.enable_control_flow_v2, tf.disable_control_flow_v2),
        (isinstance(tf.TensorShape([1])[0], int), tf.enable_v2_tensorshape, tf.disable_v2_tensorshape),
    ]
    own_flags = _OwnFlags(flags.FLAGS)
    with _quiet():
        tf.disable_v2_behavior()
    used = bool(tf.get_default_graph().get_operations())
    try:
        # A graph that the caller has begun is left alone; `tf.reset_default_graph` then does not work in the script.
        with tf.Graph().as_default() if used else contextlib.nullcontext(), _whole_floats(tf.Dimension):
            yield
            _close_sessions(tf, before)
    finally:
        _close_sessions(tf, before)
        # Where it has operations although TensorFlow is eager, it keeps TensorFlow from being eager again.
        if eager or not used:
            with contextlib.suppress(AssertionError):
                tf.reset_default_graph()
        own_flags.put_back()
        with _quiet():
            flags.FLAGS.unparse_flags()
            if eager:
                tf.enable_v2_behavior()
            for enabled, enable, disable in switches:
                (enable if enabled else disable)()


@contextlib.contextmanager
def _whole_floats(dimension):
    """Makes ``50.0`` a dimension, as ``100 / 2`` is in Python 3."""
    initialize = dimension.__init__

    @functools.wraps(initialize)
    def of_any_number(self, value):
        if isinstance(value, numbers.Real) and not hasattr(value, "__index__"):
            if int(value) != value:
                raise ValueError(f"Ambiguous dimension: {value}")
            value = int(value)
        initialize(self, value)

    dimension.__init__ = of_any_number
    try:
        yield
    finally:
        dimension.__init__ = initialize


class _OwnFlags:
    """The flags that a script may define in its turn: log_dir, v and verbosity were free until TF 1.11."""

    def __init__(self, flags):
        self._flags = flags
        self._before = {
            name: (flags[name], flags[name].allow_override, flags.find_module_defining_flag(name)) for name in flags
        }
        for flag, _, _ in self._before.values():
            flag.allow_override = True

    def put_back(self):
        for name in list(self._flags):
            if name not in self._before or self._flags[name] is not self._before[name][0]:
                delattr(self._flags, name)
        for name, (flag, _, module) in self._before.items():
            if name not in self._flags:
                self._flags[name] = flag
                self._flags.register_flag_by_module(module, flag)
        for flag, allowed, _ in self._before.values():
            flag.allow_override = allowed


def _close_sessions(tf, before):
    """Close the default sessions that are left: an InteractiveSession that nobody closes stays the default session."""
    while (session := tf.get_default_session()) is not None and session is not before:
        session.close()
        if tf.get_default_session() is session:
            return


@contextlib.contextmanager
def _quiet():
    """Suppresses what TensorFlow logs about its old behaviour, and absl about its flags."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)
