"""What a command reads at a path, which of its layers ``--layer`` means, and where ``--scheduler`` judges them."""

import contextlib
import fnmatch
import os
import re

from .._util.files import why_unreachable
from .._util.text import did_you_mean
from ..errors import CommandError

# The files of a checkpoint of TF1 and of its graph, whose number is not known before they are read.
_OF_CHECKPOINT = re.compile(
    r"checkpoint|saved_model\.pb(?:txt)?|.+\.meta|.+\.index|.+\.data-\d+-of-\d+|.+-\d+-of-\d+", re.DOTALL
)


def check_exists(path):
    """Raise CommandError if there is nothing at ``path``, which is no prefix of a checkpoint."""
    from ..cluster.files import is_url

    if not is_url(path) and not os.path.lexists(path) and why_unreachable(path) is None:
        raise CommandError(f"PATH is {path!r}, which does not exist; give a trace, a checkpoint or a graph.")


def read_at(path):
    """The paths of what is read for a trace or a checkpoint at ``path``: files, or the whole folder of a trace.

    They need not exist. The list is empty for None, an argument that was not given.
    """
    from ..checkpoints.opening import FILE_SUFFIXES

    if path is None:
        return []
    if os.path.isdir(path):
        if os.path.lexists(os.path.join(path, "trace.json")):
            return [path]
        return [os.path.join(path, name) for name in _files_in(path) if _OF_CHECKPOINT.fullmatch(name)]
    folder, prefix = os.path.split(path)
    shards = [name for name in _files_in(folder or ".") if name.startswith(prefix) and _OF_CHECKPOINT.fullmatch(name)]
    return [*(path + suffix for suffix in FILE_SUFFIXES), *(os.path.join(folder, name) for name in shards)]


def layer_filter(pattern, names, whose="the"):
    """A function that says whether the name of a layer is one that ``--layer`` means.

    Args:
      pattern: the option's value.
      names: those of all layers.
      whose: what a message has before how many they are: "the" or "OLD's".

    Raises:
      CommandError: it means none of them.
    """

    def matches(name):
        return fnmatch.fnmatchcase(name, pattern)

    if not any(map(matches, names)):
        hint = did_you_mean(pattern, names)
        raise CommandError(f"`--layer` is {pattern!r}, which matches none of {whose} {len(names)} layers.{hint}")
    return matches


def add_scheduler(parser):
    """Declare ``--scheduler`` on an argparse parser."""
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="judge the layers of traces in the workers of this dask.distributed scheduler, which see the same files; "
        "`processes`: in one process for each core of this machine",
    )


@contextlib.contextmanager
def spreading(args, curves):
    """Context with the `cluster.Workers` of ``--scheduler``, or None if that was not given.

    Args:
      args: the parsed arguments.
      curves: what is to keep the numbers that a page plots, or None.

    Raises:
      CommandError: a page is wanted, too.
      ClusterError: there are no workers.
    """
    if args.scheduler is None:
        yield None
        return
    if curves is not None:
        raise CommandError(
            f"`--html` plots what this process reads, and `--scheduler` {args.scheduler} has others read it; write "
            "--json FILE with it, and make the page from that file, without plots."
        )
    from ..cluster import Workers

    with Workers(args.scheduler) as workers:
        yield workers


def _files_in(folder):
    try:
        return os.listdir(folder)
    except (OSError, ValueError):
        return []
