"""When names of entries are written: all of them as soon as one is due."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kvproxy.reconcile.unwritten import Unwritten

NAMES = st.sampled_from("abcdef")
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("delete"), NAMES),
        st.tuples(st.just("change"), NAMES),
        st.tuples(st.just("elapse"), st.floats(0, 3)),
        st.tuples(st.just("other"), st.none()),
    ),
    max_size=60,
)


@given(grace=st.sampled_from([0.0, 0.5, 1.0, 5.0]), events=EVENTS)
def test_no_deletion_waits_longer_than_its_grace(grace: float, events: list[tuple[str, str | float | None]]) -> None:
    """At any history of deletions, changes, other commits and time: a model of the loop, which sleeps in between."""
    names, now = Unwritten(), 0.0
    since: dict[str, float] = {}
    for event, value in events:
        if isinstance(value, str):
            names.add([value], now + grace if event == "delete" and grace else float("-inf"))
            since.setdefault(value, now)
        until = now + value if isinstance(value, float) else now
        while True:
            changed = event == "change" and value in names
            taken = names.take(now, anyway=event == "other")
            assert not taken or set(taken) == since.keys()
            assert not (changed or event == "other") or not names
            since = {} if taken else since
            assert set(names) == since.keys()
            assert all(now - begin < grace or now == begin + grace == 0 for begin in since.values())
            if now + names.pause(now) > until:
                break
            now += names.pause(now)
        now = until


@given(times=st.lists(st.floats(0, 9), min_size=1))
def test_the_earliest_time_of_a_name_counts(times: list[float]) -> None:
    """A second deletion does not prolong the wait of the first one."""
    names = Unwritten()
    for time in times:
        names.add(["a"], time)
    assert names.due(min(times))
    assert not names.due(min(times) - 0.5)
    assert names.take(min(times)) == ["a"]


def test_a_name_that_may_not_be_written_now_hurries_no_other() -> None:
    """While Traefik is busy, only deletions are written, and a change that waits for it does not hurry them."""
    names = Unwritten()
    names.add(["gone"], 5.0)
    names.add(["changed"])
    assert names.take(4.0, lambda name: name == "gone") == []
    assert names.take(5.0, lambda name: name == "gone") == ["gone"]
    assert list(names) == ["changed"]
