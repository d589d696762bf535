"""A model of Traefik's readers: flat keys, or a nested document, back to a configuration whose scalars are texts.

After ``pkg/config/kv/kv_node.go`` and ``paerser`` as of Traefik 3.7. A value that stops the provider raises an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kvproxy.traefik.schema import Entries, Fields, Kind

_LIST = re.compile(r"(.+)/[0-9]+", re.DOTALL)


class StoppedError(Exception):
    """The provider loads nothing from now on."""


@dataclass
class Node:
    """A part of the tree that the keys are."""

    name: str
    value: str = ""
    children: list[Node] = field(default_factory=list)


def read_keys(keys: Mapping[str, str], kind: Kind, *, drops_empty: bool) -> Any:
    """The configuration that Traefik makes of the keys of a store."""
    root = Node("root")
    for key, value in _joined({key: value for key, value in keys.items() if value or not drops_empty}):
        node = root
        for part in filter(None, key.split("/")):
            name = f"[{part}]" if re.fullmatch("[0-9]+", part) else part
            same = [child for child in node.children if _equal(child.name, name)]
            if not same:
                node.children.append(Node(name))
            node = same[0] if same else node.children[-1]
        node.value = value
    return _fill(root, kind) if root.children else {}


def _equal(one: str, other: str) -> bool:
    return re.fullmatch(re.escape(one), other, re.IGNORECASE) is not None


def _joined(pairs: Mapping[str, str]) -> list[tuple[str, str]]:
    lists: dict[str, list[str]] = {}
    simple: dict[str, str] = {}
    for key, value in sorted(pairs.items()):
        if match := _LIST.fullmatch(key):
            lists.setdefault(match[1], []).append(value)
        else:
            simple[key] = value
    return sorted({**simple, **{key: ",".join(values) for key, values in lists.items()}}.items())


def _fill(node: Node, kind: Kind) -> Any:
    if isinstance(kind, Fields):
        if not node.children and not kind.may_be_empty:
            raise StoppedError(f"{node.name} cannot be a standalone element")
        return dict(_field(child, kind) for child in node.children)
    if isinstance(kind, tuple):
        return [_fill(child, kind[0]) for child in node.children]
    if isinstance(kind, Entries) or kind in {"names", "statuses"}:
        inner = kind.kind if isinstance(kind, Entries) else "text" if kind == "names" else "whole"
        if not node.children:
            raise StoppedError(f"{node.name} cannot be a standalone element")
        return {_name(child.name, kind): _entry(child, inner) for child in node.children}
    if kind == "any":
        return {child.name: _raw(child) for child in node.children}
    if node.children:
        raise StoppedError(f"invalid node {node.name}")
    if kind == "texts":
        return [item.strip() for item in node.value.split(",")] if node.value else []
    return _scalar(node.value, kind)


def _field(node: Node, kind: Fields) -> tuple[str, Any]:
    for name, inner in kind.known.items():
        if _equal(name, node.name):
            return name, _fill(node, inner)
    raise StoppedError(f"field not found, node: {node.name}")


def _entry(node: Node, kind: Kind) -> Any:
    # An entry of a mapping may have nothing in it.
    return {} if isinstance(kind, Fields) and not node.children else _fill(node, kind)


def _raw(node: Node) -> Any:
    if not node.children:
        return node.value
    if node.children[0].name.startswith("["):
        return [_raw(child) for child in node.children]
    return {child.name: _raw(child) for child in node.children}


def _scalar(text: str, kind: str) -> str:
    known = {
        "whole": "-?[0-9]{1,18}",
        "flag": "true|false",
        "time": "-?[0-9]+([a-z]+)?|[0-9]+m[0-9]+s",
        "text": "(?s).*",
    }
    if not re.fullmatch(known[kind], text):
        raise StoppedError(f"no {kind}")
    return text


def _name(name: str, kind: Kind) -> str:
    if kind != "statuses":
        return name
    first, _, last = name.partition("-")
    return f"{int(first)}-{int(last or first)}"


def read_document(value: Any, kind: Kind) -> Any:
    """The configuration that Traefik makes of a nested document, in which mappings may be the text ``true``."""
    if isinstance(kind, Fields):
        if value == "true" and (kind.may_be_empty or kind.empty_in_files):
            return {}
        return {name: read_document(item, kind.known[name]) for name, item in value.items()}
    if isinstance(kind, Entries):
        return {name: read_document(item, kind.kind) for name, item in value.items()}
    if isinstance(kind, tuple):
        return [read_document(item, kind[0]) for item in value]
    if kind == "texts":
        return [item.strip() for item in value]
    if kind in {"names", "statuses"}:
        return {_name(name, kind): item for name, item in value.items()}
    return ({} if value == "true" else value) if kind == "any" else _scalar(value, kind)


def meant(value: Any, kind: Kind, *, lists: bool) -> Any:
    """The configuration that a value is in a file of Traefik's, None if it says nothing.

    Args:
        value: as an administrator wrote it.
        kind: of the value.
        lists: True if a plugin is given lists; False if it is given their items with commas between them.
    """
    if value is None or value == []:
        return None
    if isinstance(kind, Fields):
        names = {given: next(name for name in kind.known if _equal(name, given)) for given in value}
        found = _set({name: meant(value[given], kind.known[name], lists=lists) for given, name in names.items()})
        return {} if found is None and (kind.may_be_empty or kind.empty_in_files) else found
    if isinstance(kind, Entries):
        return _set({name: meant(item, kind.kind, lists=lists) for name, item in value.items()})
    if isinstance(kind, tuple):
        return [meant(item, kind[0], lists=lists) for item in value]
    if kind == "texts":
        return [_text(item).strip() for item in value]
    if kind in {"names", "statuses"}:
        return _set({_name(str(name), kind): None if item is None else _text(item) for name, item in value.items()})
    return (_meant_raw(value, lists) or {}) if kind == "any" else _text(value)


def _meant_raw(value: Any, lists: bool) -> Any:
    if isinstance(value, dict):
        return _set({name: None if item in (None, []) else _meant_raw(item, lists) for name, item in value.items()})
    if isinstance(value, list):
        items = [_meant_raw(item, lists) for item in value]
        return items if lists or isinstance(items[0], dict) else ",".join(items)
    return _text(value)


def _set(value: dict[str, Any]) -> dict[str, Any] | None:
    return {name: item for name, item in value.items() if item is not None} or None


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
