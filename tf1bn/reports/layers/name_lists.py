"""The names of many layers in few lines, as a shell writes them: ``block1/unit_2/{conv1,conv2,conv3}/BatchNorm``."""

DEPTH = 6  # how many parts from the end of a name may be the ones that differ


def name_lines(names, width, most):
    """Some names as lines of text, and how many of the names found no room in them.

    Names are written with braces, unless there is not room for one such text.

    Args:
      names: texts, in the order in which they are to be listed.
      width: how many columns a line has.
      most: how many lines there may be.
    """
    lines, left = _lines(brace_names(names), width, most)
    return (lines, left) if lines else _lines([(name, 1) for name in names], width, most)


def _lines(texts, width, most):
    """Lines of texts, pairs of a text and how many names it stands for; and how many names are left."""
    lines, left = [], sum(count for _, count in texts)
    for text, count in texts:
        joined = f"{lines[-1]}, {text}" if lines else text
        if lines and len(joined) < width:
            lines[-1] = joined
        else:
            folded = fold_name(text, width - 1)
            if len(lines) + len(folded) > most:
                break
            lines[-1:] = [lines[-1] + ","] if lines else []
            lines += folded
        left -= count
    return lines, left


def fold_name(name, width):
    """A name in lines of at most ``width`` columns, which end in a blank or after "/", "," or "." where they can."""
    lines = []
    while len(name) > width:
        blank = name.rfind(" ", 0, width + 1) + 1
        part = max(name.rfind(character, 0, width) for character in "/,.") + 1
        end = blank if 2 * blank > width else part or width
        lines.append(name[:end].rstrip())
        name = name[end:]
    return [*lines, name]


def brace_names(names):
    """Some names, those that differ in one part alone as one text with braces: pairs of a text and how many it names.

    The parts of a name lie between "/", or else between ".". The part, counted from the end of the names, that leaves
    the fewest texts is put in braces, and then another, as long as that helps. Names that have a comma or a brace
    themselves stay as they are.
    """
    separator = "/" if any("/" in name for name in names) else "."
    plain = [name if any(character in name for character in "{},") else None for name in names]
    texts = [((name,) if fixed else tuple(name.split(separator)), 1) for name, fixed in zip(names, plain, strict=True)]
    while True:
        shorter = min((_in_braces(texts, place) for place in range(1, DEPTH + 1)), key=len)
        if len(shorter) == len(texts):
            return [(separator.join(parts), count) for parts, count in texts]
        texts = shorter


def _in_braces(texts, place):
    """The texts, pairs of parts and a count, with those in one that differ in the part at ``place`` from the end."""
    groups = {}
    for i, (parts, count) in enumerate(texts):
        # Names without separators share nothing, and braces in braces are hard to read.
        alone = len(parts) < max(2, place) or "{" in parts[-place]
        key = (i, ()) if alone else (parts[:-place], parts[len(parts) - place + 1 :])
        groups.setdefault(key, []).append((parts, count))
    result = []
    for (before, after), group in groups.items():
        if len(group) == 1:
            result += group
            continue
        different = "{" + ",".join(parts[-place] for parts, _ in group) + "}"
        result.append(((*before, different, *after), sum(count for _, count in group)))
    return result
