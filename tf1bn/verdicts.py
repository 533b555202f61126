"""The verdicts, the severities of causes, their order, and the exit codes of the commands: each in one place."""

OK, UNDECIDABLE, FINDING = "ok", "undecidable", "finding"
# The worst first, as reports list them.
VERDICTS = (FINDING, UNDECIDABLE, OK)
RANK = {OK: 0, UNDECIDABLE: 1, FINDING: 2}
# A cause is a finding, which makes its layer one, or an advisory: worth knowing, and nothing is wrong.
ADVISORY = "advisory"
SEVERITIES = (FINDING, ADVISORY)


def worst(verdicts):
    """The worst of some verdicts; "ok" if there is none."""
    return max(verdicts, key=RANK.get, default=OK)


def exit_code(ok, verdicts):
    """The exit code of a command that judged layers.

    Args:
      ok: whether the result as a whole is right, which needs at least one layer and no problem.
      verdicts: one per layer.

    Returns:
      0 if the result is ok, 1 if any layer is a finding, else 2: what judged nothing is no success.
    """
    return 0 if ok else 1 if FINDING in verdicts else 2


def cause_entry(name, explanation, severity=FINDING, misfit=None):
    """A cause as the JSON of an audit or a comparison has it."""
    return {"id": name, "severity": severity, "explanation": explanation, "misfit": misfit}
