"""Restarts of a Traefik that runs and does not work."""

from __future__ import annotations

from itertools import count, takewhile

from kvproxy.process.restart_policy import Standstill


def looks(standstill: Standstill, problem: str, start: float, seconds: float) -> list[bool]:
    """The message at each of the polls of some seconds."""
    moments = takewhile(lambda now: now <= start + seconds, (start + number / 4 for number in count()))
    return [standstill.over(now, problem) for now in moments]


def test_a_problem_has_to_last() -> None:
    """For the seconds of patience, without a break."""
    standstill = Standstill(30)
    assert not any(looks(standstill, "It hangs.", 0, 29.75))
    assert standstill.over(30, "It hangs.")
    assert not standstill.over(30.25, "")
    assert not any(looks(standstill, "It hangs.", 30.5, 29.75))


def test_seconds_for_which_the_hub_itself_stood_still_do_not_count() -> None:
    """Earlier knowledge no longer counts."""
    standstill = Standstill(30)
    assert not any(looks(standstill, "It hangs.", 0, 20))
    assert not any(looks(standstill, "It hangs.", 60, 29.75))
    assert standstill.over(90, "It hangs.")


def test_zero_is_for_ever() -> None:
    """Nothing is restarted."""
    assert not any(looks(Standstill(0), "It hangs.", 0, 300))
