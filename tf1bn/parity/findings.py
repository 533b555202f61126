"""A list of causes that names nothing twice."""

from __future__ import annotations

from ..verdicts import ADVISORY, FINDING, cause_entry


class Findings:
    """The causes of one layer, and what could not be decided about it.

    Attributes:
      causes: list of the dicts that `verdicts.cause_entry` makes, in the order in which they were added.
      undecided: list of sentences.
    """

    def __init__(self):
        self.causes, self.undecided = [], []

    def add(self, name, text, severity=FINDING, misfit=None):
        """Add a cause, unless there is one of this id that is as severe, or any where this is an advisory."""
        if not any(cause["id"] == name and severity in (cause["severity"], ADVISORY) for cause in self.causes):
            self.causes.append(cause_entry(name, text, severity, misfit))

    def put_first(self, causes):
        """Put causes before all others."""
        self.causes[:0] = causes

    def ids(self, severity=None):
        """The ids of the causes, or of those of one severity."""
        return {cause["id"] for cause in self.causes if severity in (None, cause["severity"])}

    def drop(self, ids):
        """Take back the causes with these ids."""
        self.causes = [cause for cause in self.causes if cause["id"] not in ids]

    def in_order(self):
        """The causes, findings before advisories."""
        return sorted(self.causes, key=lambda cause: cause["severity"] != FINDING)
