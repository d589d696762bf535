"""From what a store holds back to entries, routes and groups."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from typing import Final

from ..errors import InvalidRouteError
from .entry import GROUP_RECORD, QUARANTINE, SETUP, Entry
from .flatten import Keys
from .group import NO_REQUEST, Group
from .legacy import is_lowering, is_peers_record
from .manifest import foreign_default, setup_keys
from .names import ALONE, Names
from .route import Route, make_route

#: A revision as Traefik may show it, and one in a store that there may be later ones than, in as many digits.
_REVISION: Final = re.compile("[0-9]{1,15}")
_STORED_REVISION: Final = re.compile("[0-8][0-9]{12}")


def parse_snapshot(
    config: Mapping[str, str], records: Mapping[str, str], setup: Mapping[str, str], names: Names = ALONE
) -> dict[str, Entry]:
    """The contents of a store by entry; keys of others are left out.

    Args:
        config: all keys below the root of the configuration.
        records: all records.
        setup: the keys and values of the present setup (those of its stored manifest are added).
        names: how this hub calls its routers and services.
    """
    manifest = records.get(SETUP, "")
    of_setup = {*setup, *setup_keys(manifest)} - foreign_default(config, manifest, setup)
    configs: dict[str, Keys] = {}
    for key, value in config.items():
        # Regardless of the manifest, a route's keys and the revision are no part of the setup.
        name = names.owner(key)
        if name is None and ((key in of_setup and key != names.revision_key) or is_lowering(key, value)):
            name = SETUP
        if name is not None:
            configs.setdefault(name, {})[key] = value
    recorded: dict[str, dict[str, str]] = {}
    for key, value in records.items():
        if not key.startswith(QUARANTINE) and not is_peers_record(key):
            recorded.setdefault(_record_owner(key, names), {})[key] = value
    return {name: Entry(name, configs.get(name, {}), recorded.get(name, {})) for name in {**configs, **recorded}}


def _record_owner(key: str, names: Names) -> str:
    if key == SETUP:
        return SETUP
    return key.removeprefix(GROUP_RECORD) if key.startswith(GROUP_RECORD) else names.route(key)


def decode_record(key: str, value: str) -> Route:
    """A route from its record.

    Raises:
        InvalidRouteError: if the record is not one that :func:`encode_record` could have made.
    """
    try:
        record = json.loads(value)
        route = make_route(record.get("routespec", key), record["target"], record["data"])
    except InvalidRouteError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InvalidRouteError(f"The record {key!r} in the store is not one of kvproxy's.") from None
    if route.key != key:
        raise InvalidRouteError(f"The record {key!r} in the store is about another route, {route.routespec!r}.")
    return route


def route_of(entry: Entry) -> Route | None:
    """The route of an entry, None if it was found in a store and its record is missing or is none of kvproxy's."""
    if entry.route is not None:
        return entry.route
    for key, value in entry.records.items():
        with contextlib.suppress(InvalidRouteError):
            return decode_record(key, value)
    return None


def group_of(entry: Entry, names: Names = ALONE) -> Group | None:
    """The group of an entry that was found in a store, None if it is none or is not one of kvproxy's."""
    for key, value in entry.records.items():
        with contextlib.suppress(ValueError, TypeError, RecursionError):
            prefix, *symbols = json.loads(value)
            group = Group(prefix, tuple(symbols))
            if group.proper and key == GROUP_RECORD + names.group(group):
                return group
    return None


def is_active(group: Entry) -> bool:
    """True if requests may pass a group that was found in a store."""
    return group.config.get(f"http/routers/{group.name}/rule") not in {None, NO_REQUEST}


def parent_name(entry: Entry, names: Names = ALONE) -> str | None:
    """The name of the group that an entry is in, None for none."""
    parent = entry.config.get(f"http/routers/{entry.name}/parentRefs")
    return None if parent == names.roots else parent


def is_rooted(setup: Entry | None, names: Names = ALONE) -> bool:
    """True if there are root routers in the setup that was found in a store."""
    return setup is not None and f"http/routers/{names.plain_root}/rule" in setup.config


def parse_revision(text: str) -> int | None:
    """A revision that Traefik shows, None for any other text."""
    return int(text) if _REVISION.fullmatch(text) else None


def stored_revision(text: str) -> int | None:
    """The revision in a store to go on from, None if kvproxy has not written it: it would have the time in ms."""
    return int(text) if _STORED_REVISION.fullmatch(text) else None
