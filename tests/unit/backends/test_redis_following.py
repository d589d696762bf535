"""Which sentinel is believed about the master."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kvproxy_redis.following import Opinion, newest

OLD, NEW, OTHER = ("10.0.0.1", 6379), ("10.0.0.2", 6379), ("10.0.0.3", 6379)
OPINIONS = st.builds(Opinion, st.sampled_from([OLD, NEW, OTHER]), st.integers(0, 3), st.booleans())


@given(st.lists(OPINIONS, max_size=5), st.sampled_from([None, OLD, NEW]))
def test_the_last_vote_counts_and_within_one_vote_nothing_is_changed(
    opinions: list[Opinion], believed: tuple[str, int] | None
) -> None:
    """A sentinel that was away must not lead the hub back to a server that has been replaced."""
    found = newest(opinions, believed)
    if found is None:
        assert opinions == []
        return
    last = [one for one in opinions if one.epoch == max(each.epoch for each in opinions)]
    assert found in last
    assert found.address == believed or believed not in [one.address for one in last]


def test_one_sentinel_that_knows_of_the_change_is_enough() -> None:
    """In whichever order they are heard, and whichever they are."""
    behind = [Opinion(OLD, 4), Opinion(OLD, 4)]
    assert newest([*behind, Opinion(NEW, 5)], OLD) == newest([Opinion(NEW, 5), *behind], OLD) == Opinion(NEW, 5)
