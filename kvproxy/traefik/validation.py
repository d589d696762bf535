"""Comparison of a value with the words of Traefik's dynamic configuration, and its form in a store.

A store holds flat keys with text values, which Traefik's reader turns back into a nested configuration
(``pkg/config/kv``, ``paerser``, 3.7). A value that would come back differently is refused, with its place.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from .schema import Entries, Fields, Kind, Version

_WHOLE: Final = re.compile(r"-?[0-9]+")
#: A duration as Go reads it (``time.ParseDuration``).
_TIME: Final = re.compile(r"-?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+")
_TIME_PART: Final = re.compile(r"([0-9.]+)([a-zµμ]+)")
_SECOND: Final = 10**9
_NANOSECONDS: Final = {
    **{"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6},
    **{"s": _SECOND, "m": 60 * _SECOND, "h": 3600 * _SECOND},
}
#: The numbers that fit into Go's ``int64``.
_INT64: Final = range(-(2**63), 2**63)
#: One step of a key's path. Traefik's reader takes digits only for a place in a list.
_STEP: Final = re.compile(r"(?![0-9]+\Z)[^/\x00-\x1f\x7f]+")
_DIGITS: Final = re.compile(r"[0-9]+")
#: As many names of fields as a sentence lists.
_LISTED: Final = 10


class SchemaError(ValueError):
    """A value that Traefik could not read, or would read as another; the text goes on after what the value is of."""


class NotInStores(SchemaError):
    """A value that Traefik reads from a file, and not from this store."""


@dataclass(frozen=True)
class Reader:
    """The provider of Traefik's that reads a configuration.

    Args:
        drops_empty: True if it skips keys with an empty value, as the Redis provider does (``kvtools/redis``,
            ``mget``).
        nested: True if it reads a file with a nested document, where a list is a list. The readers of all stores join
            a list's items with commas and split them again (``filterPairs``, ``makeSlice``).
        version: Traefik's version; ``(3,)`` if it is not known.
    """

    drops_empty: bool = True
    nested: bool = False
    version: Version = (3,)


def validate(value: Any, kind: Kind, where: str) -> Any:
    """Return a copy of a value of this kind, without its members that are None, for any store.

    Args:
        value: anything.
        kind: what it has to be.
        where: what it is of, in a sentence: ``middlewares.limit.rateLimit``.

    Raises:
        SchemaError: with a sentence's end that names the place and never shows a value, which may be secret.
    """
    return Checker().check(value, kind, where)


def fold(name: str) -> str:
    """A name with the letters that Traefik's reader does not tell apart (Go, ``strings.EqualFold``) made one.

    >>> fold("Straße-K"), fold("STRAẞE-\\u212a")
    ('straße-k', 'straße-k')
    """
    return "".join(map(_fold_character, name))


def _fold_character(one: str) -> str:
    return next((folded for folded in (one.casefold(), one.lower()) if len(folded) == 1), one)


@dataclass(frozen=True)
class Checker:
    """Compares values with their kinds.

    Args:
        reader: what will read them.
        unsets: True if None and empty lists are kept: they take away the value that they are merged over.
    """

    reader: Reader = Reader()
    unsets: bool = False

    def check(self, value: Any, kind: Kind, where: str) -> Any:
        """See :func:`validate`."""
        if isinstance(kind, Fields):
            return self._fields(value, kind, where)
        if isinstance(kind, Entries):
            named = self._named(value, where)
            return {name: self._set(item, kind.kind, at(where, name)) for name, item in named.items()}
        if isinstance(kind, tuple):
            items = self._items(value, where)
            return [self._item(item, kind[0], f"{where}[{index}]") for index, item in enumerate(items)]
        if kind == "texts":
            items = self._items(value, where)
            return [self._in_list(item, f"{where}[{index}]") for index, item in enumerate(items)]
        if kind == "names":
            named = self._named(value, where)
            return {name: self._set(item, "text", at(where, name)) for name, item in named.items()}
        if kind == "statuses":
            named = self._named(_as_ranges(value), where)
            return {name: self._set(item, "whole", at(where, name)) for name, item in named.items()}
        return self._any(value, where, may_be_empty=True) if kind == "any" else self._scalar(value, kind, where)

    def _set(self, value: Any, kind: Kind, where: str) -> Any:
        return None if value is None else self.check(value, kind, where)

    def _fields(self, value: Any, kind: Fields, where: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        may_be_empty = kind.may_be_empty or kind.empty_in_files
        for given, item in self._named(value, where, may_be_empty).items():
            name = _known(given, kind, where)
            if (since := kind.since.get(name, (3,))) > self.reader.version != (3,):
                raise SchemaError(
                    f"{at(where, name)}, which Traefik {_dotted(self.reader.version)} does not know; "
                    f"leave it out, or install Traefik {_dotted(since)} or newer"
                )
            found[name] = self._set(item, kind.known[name], at(where, name))
        if kind.empty_in_files and not self.reader.nested and _says_nothing(found):
            raise NotInStores(f"{where} with nothing in it, which Traefik takes from a file only")
        return found

    def _item(self, value: Any, kind: Fields, where: str) -> dict[str, Any]:
        if _says_nothing(found := self._fields(value, kind, where)):
            raise SchemaError(f"{where} with nothing in it")
        return found

    def _named(self, value: Any, where: str, may_be_empty: bool = False) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            hint = "; {} stands for one without any field" if may_be_empty and value is True else ""
            raise SchemaError(f"{where} that is not a mapping but of type {type(value).__name__}{hint}")
        for name in value:
            if not isinstance(name, str) or not _STEP.fullmatch(name) or not _plain(name):
                place = where or "a section"
                raise SchemaError(f"{place} with the name {name!r}, which cannot be a part of a key{_why(name)}")
        if len({fold(name) for name in value}) < len(value):
            place = where or "sections"
            raise SchemaError(
                f"{place} with names that differ in upper and lower case only, which Traefik takes for one"
            )
        found = {name: item for name, item in value.items() if self.unsets or item is not None}
        if not found and not may_be_empty:
            raise SchemaError(f"{where} with nothing in it")
        return found

    def _items(self, value: Any, where: str) -> list[Any]:
        if not isinstance(value, (list, tuple)):
            raise SchemaError(f"{where} that is not a list but of type {type(value).__name__}")
        if not value and not self.unsets:
            raise SchemaError(f"{where} with nothing in it")
        return list(value)

    def _in_list(self, value: Any, where: str) -> str:
        if value == "" and self.reader.nested:
            return ""
        text = _text(self._scalar(value, "text", where))
        if not text:
            raise NotInStores(f"{where} that is empty; Traefik reads no empty items from a store")
        if "," in text and not self.reader.nested:
            raise NotInStores(f"{where} with a comma, which Traefik would take for the end of an item")
        return text

    def _scalar(self, value: Any, kind: str, where: str) -> str | int | float:
        if not isinstance(value, (str, int, float)) or (isinstance(value, float) and not math.isfinite(value)):
            raise SchemaError(f"{where} of type {type(value).__name__}, which is not of JSON")
        text = _text(value)
        if not text and kind == "text" and self.reader.drops_empty:
            raise NotInStores(f"{where} that is empty; Traefik reads no empty values from a store")
        if not _plain(text):
            raise SchemaError(f"{where} with half of a surrogate pair")
        if kind == "whole" and (isinstance(value, bool) or not _is_whole(text)):
            raise SchemaError(f"{where} that is not a whole number")
        if kind == "flag" and text not in {"true", "false"}:
            raise SchemaError(f"{where} that is neither True nor False")
        if kind == "time" and (isinstance(value, bool) or not _is_time(text)):
            raise SchemaError(f"{where} that is not a duration such as 10s")
        return value

    def _any(self, value: Any, where: str, may_be_empty: bool = False) -> Any:
        """A plugin's own configuration: only Traefik's plugin knows its fields."""
        try:
            if isinstance(value, Mapping):
                named = self._named(value, where, may_be_empty)
                if brackets := [name for name in named if name.startswith("[") and name.endswith("]")]:
                    raise SchemaError(
                        f"{where} with the name {brackets[0]!r}, which Traefik takes for a place in a list"
                    )
                return {name: self._any_entry(item, at(where, name)) for name, item in named.items()}
            if isinstance(value, (list, tuple)):
                return self._any_items(value, where)
        except RecursionError:
            raise SchemaError(f"{where} that is nested too deep") from None
        if may_be_empty:
            raise SchemaError(f"{where} that is not a mapping but of type {type(value).__name__}")
        return self._scalar(value, "text", where)

    def _any_entry(self, value: Any, where: str) -> Any:
        return None if value is None else self._any(value, where)

    def _any_items(self, value: Any, where: str) -> list[Any]:
        items = self._items(value, where)
        if all(isinstance(item, Mapping) for item in items):
            return [self._any(item, f"{where}[{index}]") for index, item in enumerate(items)]
        if any(isinstance(item, (Mapping, list, tuple)) for item in items):
            raise SchemaError(f"{where} with items of several types, or lists in a list, which Traefik cannot read")
        return [self._in_list(item, f"{where}[{index}]") for index, item in enumerate(items)]


def at(where: str, name: str) -> str:
    """The place of a field, for sentences."""
    return f"{where}.{name}" if where else name


def _says_nothing(found: Mapping[str, Any]) -> bool:
    return all(item is None or item == [] for item in found.values())


def _known(given: str, kind: Fields, where: str) -> str:
    """A field's name as Traefik spells it."""
    if given in kind.known:
        return given
    folded = fold(given)
    if same := [name for name in kind.known if fold(name) == folded]:
        return same[0]
    near = difflib.get_close_matches(given, kind.known, 1, 0.7)
    if near:
        hint = f" (is {near[0]} meant?)"
    else:
        hint = f" (it knows {', '.join(kind.known)})" if 0 < len(kind.known) <= _LISTED else ""
    raise SchemaError(f"{at(where, given)}, which Traefik does not know there{hint}")


def _as_ranges(value: Any) -> Any:
    """Single statuses as ranges: Traefik's reader would take a name of digits only for a place in a list."""
    if not isinstance(value, Mapping):
        return value
    texts = [(_text(name) if isinstance(name, int) else name, item) for name, item in value.items()]
    named = [(f"{name}-{name}" if isinstance(name, str) and _DIGITS.fullmatch(name) else name) for name, _ in texts]
    return dict(zip(named, value.values(), strict=True)) if len(set(named)) == len(named) else value


def _why(name: Any) -> str:
    if not isinstance(name, str):
        return "; it has to be a text"
    if _DIGITS.fullmatch(name):
        return ": Traefik takes digits only for a place in a list; give it a letter"
    if "/" in name:
        return ", as it holds a '/'"
    return ""


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_whole(text: str) -> bool:
    return bool(_WHOLE.fullmatch(text)) and len(text) <= 20 and int(text) in _INT64


def _is_time(text: str) -> bool:
    if _WHOLE.fullmatch(text):
        return len(text) <= 20 and int(text) * _SECOND in _INT64
    if not _TIME.fullmatch(text):
        return False
    parts = _TIME_PART.findall(text)
    return (
        sum(Fraction(f"0{number}0" if "." in number else number) * _NANOSECONDS[unit] for number, unit in parts)
        < _INT64.stop
    )


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))


def _plain(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
