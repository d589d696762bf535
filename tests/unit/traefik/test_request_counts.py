"""The difference of two samples of Traefik's counters, whatever happened in between."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from dateutil.parser import parse as parse_date
from hypothesis import given
from hypothesis import strategies as st

from kvproxy.traefik.request_counts import Activity, Sample, Sieve, asked, is_wanted, many_counters, parse_sample

NAMES = ["ada-kvp", "bob-kvp", "eve-kvp"]
#: A request for a server, one that is removed with its counters, a restart of Traefik, a look at the counters.
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from(NAMES)),
        st.tuples(st.just("remove"), st.sampled_from(NAMES)),
        st.tuples(st.sampled_from(["restart", "look"]), st.just("")),
    ),
    max_size=60,
)
NOON = datetime(2030, 1, 31, 12, tzinfo=timezone.utc)


@given(EVENTS, st.booleans())
def test_requests_between_two_polls_are_found(events: list[tuple[str, str]], tells: bool) -> None:
    """No other server; and every one that is still there, if Traefik tells when it was started."""
    counts: dict[str, float] = {}
    since: set[str] = set()
    before, started = None, 1.0
    for event, name in events:
        if event == "ask":
            counts[name] = counts.get(name, 0) + 1
            since.add(name)
        elif event == "remove":
            counts.pop(name, None)
            since.discard(name)
        elif event == "restart":
            # Counts of an earlier process since the last poll are lost.
            counts, since, started = {}, set(), started + 1
        else:
            now = Sample(dict(counts), started if tells else None)
            found = asked(before, now)
            assert found <= since
            if before is None:
                assert found == set()
            elif tells and before.started == started:
                # Removed and asked as often again is the one thing that cannot be told.
                assert {name for name in since if counts[name] > before.counts.get(name, 0)} <= found
            elif tells:
                assert found == since
            before, since = now, set()


@given(
    st.dictionaries(
        st.tuples(
            st.sampled_from([*NAMES, "hub"]),
            st.sampled_from(["redis", "file", "redis-2"]),
            st.sampled_from(["200", "304", "302", "404", "502", "101", "0", ""]),
            st.sampled_from(["GET", "POST"]),
        ),
        st.integers(0, 10**7),
    ),
    st.one_of(st.none(), st.floats(1, 2e9)),
)
def test_only_what_was_answered_well_counts(found: dict[tuple[str, str, str, str], int], started: float | None) -> None:
    """By the provider's services, over all methods; redirects and errors are no work."""
    lines = [
        f'traefik_service_requests_total{{code="{code}",method="{method}",service="{name}@{whose}"}} {count}'
        for (name, whose, code, method), count in found.items()
    ]
    noise = [
        "# TYPE traefik_service_requests_total counter",
        'traefik_service_requests_bytes_total{service="x"} 1',
        "x 1",
    ]
    lines += [] if started is None else [f"process_start_time_seconds {started!r}"]
    text = "\n".join(line for line in [*noise, *lines] if is_wanted(line.encode())) + "\n"
    wanted: dict[str, float] = {}
    for (name, whose, code, _), count in found.items():
        if whose == "redis" and code in {"200", "101", "0"}:
            wanted[name] = wanted.get(name, 0) + count
    assert parse_sample(text, "redis") == Sample(wanted, started)


@given(
    st.dictionaries(st.tuples(st.sampled_from(NAMES), st.sampled_from(["redis", "file"])), st.integers(1, 12)),
    st.integers(0, 10),
    st.one_of(st.none(), st.integers(1, 2**40)),
)
def test_services_with_many_counters_are_named(
    counters: dict[tuple[str, str], int], many: int, memory: int | None
) -> None:
    """With any statuses; of other lines nothing is kept, however many there are."""
    sieve = Sieve(many)
    sieve.take([b'traefik_service_request_duration_seconds_sum{code="200",service="ada-kvp@redis"} 1'] * 20)
    for (name, whose), count in counters.items():
        for number in range(count):
            line = f'traefik_service_requests_total{{code="{400 + number}",method="GET",service="{name}@{whose}"}} 1'
            sieve.take([line.encode()])
    if memory is not None:
        sieve.take([f"process_resident_memory_bytes {memory}".encode()])
    wanted = {name: count for (name, whose), count in counters.items() if whose == "redis" and count > many}
    assert sieve.sample("redis") == Sample({}, None, memory, wanted)


def test_the_warning_does_without_a_size() -> None:
    """Not every platform tells it."""
    said = many_counters("Traefik", "/user/ada/", 501, None)
    assert said.startswith("Traefik keeps 501 counters for /user/ada/, ")
    assert "MB" not in said
    assert "It uses 653 MB now." in many_counters("Traefik", "/user/ada/", 501, 653e6)


def test_invalid_metrics_are_an_error() -> None:
    """An error, not a wrong number."""
    with pytest.raises(ValueError, match="x"):
        parse_sample('traefik_service_requests_total{code="200"} x\n', "redis")


def test_the_latest_of_all_traefiks_counts() -> None:
    """Each is compared with itself; a server that is gone, and a Traefik that is gone, are forgotten."""
    activity = Activity()
    for traefik, start in (("one", 5), ("two", 9)):
        activity.learn(traefik, Sample({"ada": start, "bob": 1}), NOON)
    assert activity.names == []
    activity.learn("one", Sample({"ada": 6, "bob": 1}), NOON + timedelta(seconds=2))
    activity.learn("two", Sample({"ada": 10, "bob": 1}), NOON + timedelta(seconds=1))
    assert activity.last("ada") == "2030-01-31T12:00:02.000Z"
    assert activity.last("bob") is None
    activity.keep({"one"}, {"bob"})
    assert activity.last("ada") is None
    activity.learn("two", Sample({"ada": 11}), NOON)
    assert activity.last("ada") is None


@given(st.datetimes(min_value=datetime(1971, 1, 1), timezones=st.just(timezone(timedelta(hours=-7)))))
def test_times_are_read_by_jupyterhub_as_they_were(at: datetime) -> None:
    """To the millisecond, in UTC."""
    activity = Activity()
    activity.learn("one", Sample(), at)
    activity.learn("one", Sample({"ada": 1}), at)
    text = activity.last("ada") or ""
    assert text.endswith("Z")
    assert abs(parse_date(text) - at) < timedelta(milliseconds=1)
