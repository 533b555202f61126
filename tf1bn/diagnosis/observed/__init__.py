"""Causes that are seen without trying any hypothesis: in batches, outputs, values, and between the steps.

Each function takes a `survey.Survey` and returns what it sees as a list of `Cause`, or one `Cause` or None.
"""
