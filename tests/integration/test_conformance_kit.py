"""The kit is tested itself: each defect is found by the checks that are there for it, and by no others."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

#: Defective stores, and the checks that are to fail for each.
DEFECTS: dict[str, set[str]] = {
    "TornByItsLimit": {"one_operation_more_is_all_or_nothing"},
    "TornByOthers": {
        "readers_never_see_half_a_transaction",
        "a_cancelled_call_leaves_all_or_nothing_and_a_working_store",
    },
    "ClaimsTooMuch": {"a_transaction_of_the_most_operations_is_applied", "many_keys_are_listed"},
    "Bleeding": {"another_root_is_another_store"},
    "LosesUnicode": {"texts_come_back_to_the_letter"},
    "Strips": {"texts_come_back_to_the_letter"},
    "ForgetsDeletes": {"deleted_is_gone"},
    "DeletesTrees": {"a_key_is_not_a_prefix"},
    "Leaks": {"a_server_that_is_gone_is_unavailable_and_then_back"},
    "Forgets": {
        "it_is_there_for_the_next_connection",
        "a_store_that_is_not_as_it_was_left_is_not_written_to",
        "what_only_reads_is_in_nobodys_way",
    },
    "ClosesOnce": {"a_closed_store_can_be_closed_again"},
    "OnePage": {"many_keys_are_listed"},
    "LeavesItsProbe": {"asking_whether_it_is_noisy_changes_nothing"},
}
TESTS = """
import sys
sys.path.insert(0, {folder!r})
import pytest
import defective_stores
from kvproxy.testing.conformance import StoreCredentialsConformance, StoreServer, StoreServerConformance
from kvproxy.testing.memory import MemoryServer

class Defective:
    @pytest.fixture
    def server(self):
        memory = MemoryServer()
        open = lambda traefik, hub: getattr(defective_stores, type(self).__name__[4:])(None, memory, traefik, hub)
        refused = lambda: open("traefik", "jupyterhub")
        return StoreServer(open=open, stop=memory.stop, start=memory.start, open_refused=refused)
"""
CLASS = """
class Test{store}(Defective, {kits}):
    pass
"""


def failures(pytester: pytest.Pytester, kits: dict[str, str], only: str = "") -> dict[str, set[str]]:
    """The names of the checks that fail, without parameters, by store.

    Args:
        pytester: runs them.
        kits: the kits of each store.
        only: expression that selects checks; empty for all.
    """
    folder = str(Path(__file__).parent)
    classes = [CLASS.format(store=store, kits=names) for store, names in kits.items()]
    pytester.makepyfile(TESTS.format(folder=folder) + "".join(classes))
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function")
    ran = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", "--tb=no", "-rfE", "-k", only)
    found: dict[str, set[str]] = defaultdict(set)
    for store, name in re.findall(r"^(?:FAILED|ERROR) .*::Test(\w+)::test_(\w+)", ran.stdout.str(), re.MULTILINE):
        found[store].add(name)
    passed = ran.parseoutcomes().get("passed", 0)
    assert passed > len(kits) or only
    return found


def test_each_defect_is_found_by_its_own_check(pytester: pytest.Pytester) -> None:
    """And a sound store passes all."""
    found = failures(pytester, dict.fromkeys(["Sound", *DEFECTS], "StoreServerConformance"))
    assert found == DEFECTS


def test_a_store_that_looks_empty_without_rights_is_found(pytester: pytest.Pytester) -> None:
    """A missing right must never look like an empty table: the hub would delete everything."""
    kits = {"EmptyWithoutRights": "StoreServerConformance, StoreCredentialsConformance"}
    found = failures(pytester, kits, "refused_credentials")
    assert found == {"EmptyWithoutRights": {"refused_credentials_are_told_at_once"}}
