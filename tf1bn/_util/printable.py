"""Text that leaves the process: every character of it is seen, and none of it steers a terminal or a reader's eye.

Names of layers, variables and files come from other people's files. A name with an escape sequence could clear the
screen and print another verdict; one with a line break could add a line to a report; a right-to-left mark turns the
text around; a lone surrogate cannot be written at all.
"""

import re

# What is seen, or is a plain line break: everything else is written as its escape.
_LINES = re.compile(r"[^\n]+")
_NUMBERS = {float, int, bool, type(None)}


def printable(text):
    """``text`` with every character that is not seen as its Python escape: "\\x1b", "\\n", "\\u202e", "\\ud800".

    Those are the characters that `str.isprintable` refuses: control characters, line and paragraph separators,
    direction marks and other format characters, surrogates, unassigned and private ones, and all spaces but " ".
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def printable_lines(text):
    """`printable`, except that line breaks stay."""
    return text if text.isprintable() else _LINES.sub(lambda line: printable(line[0]), text)


def printable_values(value):
    """A result, as JSON holds it, with all its texts `printable`, keys included."""
    if isinstance(value, str):
        return printable(value)
    # Most of a result are numbers, for which a call each would take as long as all else here.
    if isinstance(value, dict):
        return {
            printable_values(key): item if type(item) in _NUMBERS else printable_values(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [item if type(item) in _NUMBERS else printable_values(item) for item in value]
    return value


def json_escaped(text):
    """A JSON document in which the characters that are not seen are \\u escapes, which mean the same to a reader.

    ``text`` is a document that `json.dumps` made, so such characters stand in its strings alone; its line breaks stay.
    """
    return _LINES.sub(lambda line: line[0] if line[0].isprintable() else "".join(map(_json_escape, line[0])), text)


def _json_escape(character):
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def replace_what_cannot_be_encoded(*streams):
    """Let text streams write as an escape what their encoding lacks, so that no report is lost on a plain terminal."""
    for stream in streams:
        # Streams that tests and notebooks put in place of the standard ones may be of another kind.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
