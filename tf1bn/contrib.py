"""The names under which old code imports batch normalisation: ``contrib.layers`` and ``contrib.framework``.

Only what tf1bn provides is here; every other name says so when it is asked for.
"""

from . import argscope as _argscope


class _Namespace:
    def __init__(self, path, names):
        self._path = path
        self._names = names

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            load = self._names[name]
        except KeyError:
            raise AttributeError(
                f"tf1bn does not provide `{self._path}.{name}`; it provides {', '.join(sorted(self._names))}. "
                "Replace it with its successor in today's TensorFlow."
            ) from None
        return load()

    def __dir__(self):
        return sorted(self._names)


def _batch_norm():
    from .layer import batch_norm

    return batch_norm


layers = _Namespace("contrib.layers", {"batch_norm": _batch_norm})
framework = _Namespace(
    "contrib.framework",
    {name: lambda name=name: getattr(_argscope, name) for name in ("add_arg_scope", "arg_scope", "has_arg_scope")},
)
