"""Redis' commands for a transaction, and its patterns of keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from typing import Final

from kvproxy import Operation, Space

from .transactions import Command

_GLOB: Final = re.compile(r"([\\*?\[\]^-])")


def commands_of(operations: Sequence[Operation], root: str, records: str, *, replace: bool = False) -> list[Command]:
    """The commands that carry out operations, one of each kind.

    Args:
        operations: no key stands in them twice.
        root: begins the keys of the configuration.
        records: key of the hash of records.
        replace: remove that key first, as it holds something else.
    """
    config = [operation for operation in operations if operation.space is Space.CONFIG]
    fields = [operation for operation in operations if operation.space is Space.RECORDS]
    values_set = [(root + o.key, o.value) for o in config if o.value is not None]
    fields_set = [(o.key, o.value) for o in fields if o.value is not None]
    values_gone = [root + o.key for o in config if o.value is None]
    fields_gone = [o.key for o in fields if o.value is None]
    found: list[Command] = [("DEL", records)] if replace else []
    found += [("MSET", *chain.from_iterable(values_set))] if values_set else []
    found += [("HSET", records, *chain.from_iterable(fields_set))] if fields_set else []
    found += [("DEL", *values_gone)] if values_gone else []
    found += [("HDEL", records, *fields_gone)] if fields_gone else []
    return found


def pattern_of(root: str) -> str:
    """The pattern of all keys that begin with a text."""
    return _GLOB.sub(r"\\\1", root) + "*"
