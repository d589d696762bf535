"""When a Traefik that has not caught up is told again."""

from __future__ import annotations

from kvproxy.reconcile.pace import Pace


def test_a_slow_traefik_is_given_its_time() -> None:
    """Four times as long as it took last, or ten seconds, and half as long again in any case."""
    pace = Pace()
    pace.begin(0)
    pace.progress(2, all_of_it=True)
    assert pace.usual == 8
    pace.begin(10)
    pace.progress(15, all_of_it=True)
    assert pace.usual == 10
    pace.begin(20)
    pace.progress(40, all_of_it=True)
    assert pace.usual == 30


def test_seconds_in_which_it_could_not_be_asked_are_not_the_time_that_it_takes() -> None:
    """It may have been away: a hub that took that for a reload would tell it nothing for minutes."""
    pace = Pace()
    pace.begin(0)
    pace.not_seen()
    pace.progress(40, all_of_it=False)
    assert pace.usual == 2
    assert pace.due(42)
    pace.begin(50)
    pace.progress(55, all_of_it=True)
    assert pace.usual == 10
