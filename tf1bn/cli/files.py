"""Which files a command reads where it is given a path."""


def read_at(path):
    """The paths of the files that are read first for a trace or a checkpoint at ``path``; they need not exist.

    The list is empty for None, an argument that was not given.
    """
    from ..checkpoints.opening import FILE_SUFFIXES

    if path is None:
        return []
    return [path + suffix for suffix in (*FILE_SUFFIXES, "/trace.json", "/steps.jsonl", "/checkpoint")]
