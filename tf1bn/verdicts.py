"""The verdicts on layers, the severities of causes, their order, and the exit codes of the commands."""

OK, UNDECIDABLE, FINDING = "ok", "undecidable", "finding"
# The worst first, in the order in which reports list them.
VERDICTS = (FINDING, UNDECIDABLE, OK)
RANK = {OK: 0, UNDECIDABLE: 1, FINDING: 2}
# The severity of a cause is "finding", which makes its layer a finding, or "advisory": worth knowing, but not wrong.
ADVISORY = "advisory"
SEVERITIES = (FINDING, ADVISORY)


def worst(verdicts):
    """The worst of the ``verdicts``; "ok" if there are none."""
    return max(verdicts, key=RANK.get, default=OK)


def exit_code(ok, verdicts):
    """The exit code of a command that judged layers.

    Args:
      ok: whether the result as a whole is right, which needs at least one layer and no problem.
      verdicts: one per layer.

    Returns:
      0 if the result is ok, 1 if any layer is a finding, else 2, as where no layer was judged.
    """
    return 0 if ok else 1 if FINDING in verdicts else 2


def cause_entry(name, explanation, severity=FINDING, misfit=None):
    """A cause as a dict, as it stands in the JSON of an audit or of a comparison."""
    return {"id": name, "severity": severity, "explanation": explanation, "misfit": misfit}
