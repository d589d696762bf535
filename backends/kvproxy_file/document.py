"""A configuration file as a value: nested there, flat keys here, and the hub's records in its comments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Final

from kvproxy import Operation, Snapshot, Space, StoreError

from .formats import BrokenFileError, Format, Items, Node, Tree, is_null

_HEADER: Final = """\
# JupyterHub's routes, written by kvproxy for Traefik's file provider. Keys that you add are kept as long as they have
# names of their own; comments and the order of lines are not.
"""
_RECORD: Final = "# kvproxy record "
_RECORD_LINE: Final = re.compile(rf"^{_RECORD}(.*)$", re.MULTILINE)
#: A record that can stand in a comment as it is: JSON that is no text, in printable ASCII.
_AS_IT_IS: Final = re.compile(r"(?=[{\[])(?:(?!\{\{)[ -~])*")
_INDEX: Final = re.compile("[0-9]+")
_JSON: Final = json.JSONDecoder()


class Document:
    """The contents of a configuration file.

    Args:
        tree: the configuration.
        records: the hub's records.
        format: how the file is written.
    """

    def __init__(self, tree: Tree, records: dict[str, str], format: Format) -> None:
        self._tree = tree
        self._format = format
        self.records = records
        # Text that was made once is kept: a file of 10,000 routes has 30,000 lines.
        self._lines: dict[tuple[str, ...], str] = {}
        self._record_lines: dict[str, str] = {}

    @classmethod
    def parse(cls, text: str, format: Format) -> Document:
        """The document of a file's text.

        Raises:
            BrokenFileError: if it cannot be read, or could not be written back as it is.
        """
        position = text.find("{{")
        if position >= 0:
            raise BrokenFileError(
                text.count("\n", 0, position) + 1,
                "'{{' begins a template, which kvproxy cannot keep; write what it stands for",
            )
        try:
            return cls(format.parse(text), dict(_records(text)), format)
        except RecursionError:
            raise BrokenFileError(1, "it is nested too deep") from None

    def snapshot(self) -> Snapshot:
        """The configuration as flat keys, and the records."""
        return Snapshot(dict(_flat("", self._tree)), dict(self.records))

    def get(self, key: str) -> str | None:
        """One value of the configuration, None if there is none."""
        *tables, last = key.split("/")
        table = self._tree
        for name in tables:
            below = table.get(name)
            if not isinstance(below, dict):
                return None
            table = below
        return dict(_flat("", {last: table[last]})).get(last) if last in table else None

    def apply(self, operations: Iterable[Operation]) -> None:
        """Carry out operations; after an error the document is good for nothing.

        Raises:
            StoreError: if a key has a value and keys below it, which no such file can hold.
        """
        # Deletions come first, so that a value can become a table and a table a value in one step.
        for operation in sorted(operations, key=lambda operation: operation.value is not None):
            if operation.space is Space.RECORDS:
                self._put_record(operation.key, operation.value)
                continue
            path = operation.key.split("/")
            for depth in (1, 2, 3):
                self._lines.pop(tuple(path[:depth]), None)
            if operation.value is None:
                _remove(self._tree, path)
            else:
                _put(self._tree, path, operation.value)

    def _put_record(self, key: str, value: str | None) -> None:
        self._record_lines.pop(key, None)
        if value is None:
            self.records.pop(key, None)
        else:
            self.records[key] = value

    def text(self) -> str:
        """The text of the file."""
        return "".join((_HEADER, *self._entries((), self._tree), "\n", *self._comments()))

    def _entries(self, path: tuple[str, ...], table: Tree) -> Iterator[str]:
        tables = {key: node for key, node in table.items() if len(path) < 2 and type(node) is dict and node}
        for key, value in table.items():
            if key not in tables:
                yield self._line(path, key, value)
        for key, node in tables.items():
            below = (*path, key)
            yield self._format.heading(below)
            yield from self._entries(below, node)

    def _line(self, path: tuple[str, ...], key: str, value: Node) -> str:
        where = (*path, key)
        line = self._lines.get(where)
        if line is None:
            line = self._lines[where] = self._format.entry(len(path), key, value)
        return line

    def _comments(self) -> Iterator[str]:
        for key, value in self.records.items():
            line = self._record_lines.get(key)
            if line is None:
                line = self._record_lines[key] = f"{_RECORD}{_json(key)} {_comment(value)}\n"
            yield line


def _records(text: str) -> Iterator[tuple[str, str]]:
    seen = set()
    for match in _RECORD_LINE.finditer(text):
        try:
            key, end = _JSON.raw_decode(match.group(1))
            value = match.group(1)[end + 1 :].removesuffix("\r")
            if value.startswith('"'):
                value = json.loads(value)
            if not isinstance(key, str) or key in seen:
                raise ValueError
        except ValueError:
            line = text.count("\n", 0, match.start()) + 1
            raise BrokenFileError(line, "this is not a record of kvproxy, or the second one of a route") from None
        seen.add(key)
        yield key, value


def _comment(value: str) -> str:
    return value if _AS_IT_IS.fullmatch(value) else _json(value)


def _json(text: str) -> str:
    # In a comment, too, Traefik looks for templates.
    return re.sub(r"\{(?=\{)", r"\\u007b", json.dumps(text))


def _flat(prefix: str, table: Tree) -> Iterator[tuple[str, str]]:
    for key, node in table.items():
        if isinstance(node, str):
            if not is_null(node):
                yield prefix + key, str(node)
        elif node:
            yield from _flat(f"{prefix}{key}/", node)
        elif not isinstance(node, Items):
            yield prefix + key, "true"


def _put(tree: Tree, path: list[str], value: str) -> None:
    table = tree
    for depth, key in enumerate(path[:-1], 1):
        node = table.get(key, "")
        if key not in table or is_null(node):
            # Traefik's lists come as numbered keys.
            node = table[key] = Items() if _INDEX.fullmatch(path[depth]) else {}
        if isinstance(node, str):
            raise _both("/".join(path[:depth]))
        table = node
    if isinstance(table.get(path[-1]), dict) and table[path[-1]]:
        raise _both("/".join(path))
    table[path[-1]] = value


def _both(key: str) -> StoreError:
    return StoreError(
        f"The key {key!r} cannot have a value and keys below it in a file; look for it in the dynamic_config_file and "
        "in extra_dynamic_config."
    )


def _remove(tree: Tree, path: list[str]) -> None:
    tables = [tree]
    for key in path[:-1]:
        node = tables[-1].get(key)
        if not isinstance(node, dict):
            return
        tables.append(node)
    node = tables[-1].get(path[-1])
    if node is None or (isinstance(node, dict) and node):
        return
    # Traefik refuses tables without anything in them, so that none is left behind.
    for table, key in zip(reversed(tables), reversed(path), strict=True):
        del table[key]
        if table:
            return
