"""What of a parametrized test the first tier tries; docs/design/testing.md says what the tiers are."""

import pytest


def slow_but(kept, values):
    """``values`` for ``pytest.mark.parametrize``: those that are not in ``kept`` are marked slow."""
    assert all(value in values for value in kept)
    return [value if value in kept else pytest.param(value, marks=pytest.mark.slow) for value in values]


def slow_after(count, rows):
    """Rows of several arguments for ``pytest.mark.parametrize``: those after the first ``count`` are marked slow."""
    return [row if i < count else pytest.param(*row, marks=pytest.mark.slow) for i, row in enumerate(rows)]
