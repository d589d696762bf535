"""How many examples a law gets: a share of what the profile in use says, see tests/conftest.py."""

from __future__ import annotations

from hypothesis import settings


def share(part: float, *, steps: int = 30) -> settings:
    """That part of the profile's examples; steps: of a state machine at most.

    A number would hold in ``nox -s endurance`` as well, which is to try more of each law.
    """
    return settings(max_examples=max(1, round(settings.default.max_examples * part)), stateful_step_count=steps)
