"""TOML and YAML as trees that can be written back: reading with the usual libraries, writing one entry a line.

Both formats are written alike: a heading for each table of tables (``http``, ``http.routers``) and below it one line
for each entry (a router, a service) with everything that is in it, so that a change of one entry is a change of one
line. Text is never written with two opening braces in a row, which Traefik would take for a Go template.
"""

from __future__ import annotations

import abc
import importlib
import json
import re
import sys
from typing import Any, Final, TypeAlias

from kvproxy import ConfigurationError
from kvproxy.routing.flatten import places


class Plain(str):
    """A value that stands in a file without quotes (a number, a boolean, a date, null), spelled as it is there."""

    __slots__ = ()


class Items(dict[str, "Node"]):
    """A mapping that is a list if its keys are those that :func:`kvproxy.routing.flatten.places` gives its items."""


#: A text, a :class:`Plain`, a mapping, or an :class:`Items`.
Node: TypeAlias = "str | dict[str, Node]"
Tree: TypeAlias = dict[str, Node]

_BARE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
#: Words that YAML may take for something else than a text.
_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})
#: Texts that may stand without quotes in YAML wherever a value may.
_YAML_PLAIN: Final = re.compile(r"[A-Za-z0-9_.+~-][A-Za-z0-9_.+~:-]*(?<!:)")
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_ESCAPED: Final = re.compile(r'["\\]|[^ -~]|\{(?=\{)')
_SHORT: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
#: Characters of a YAML key beyond which it needs a question mark before it.
_YAML_KEY: Final = 1000


class BrokenFileError(Exception):
    """A text that cannot be read.

    Args:
        line: number of the line, from 1.
        why: what is wrong there.
    """

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")
        self.line = line
        self.why = why


def is_null(node: Node) -> bool:
    """True if a node is YAML's null."""
    return isinstance(node, Plain) and node in _NULLS


def quote(text: str) -> str:
    r"""A text in double quotes, as TOML and YAML alike read it.

    >>> print(quote('a"b {{c}} é'), quote("\u2028"))
    "a\"b \u007b{c}} é" "\u2028"
    """
    return f'"{_ESCAPED.sub(_escape, text)}"'


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    if character in _SHORT:
        return _SHORT[character]
    if character.isprintable() and character != "{":
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class Format(abc.ABC):
    """One of the two formats that Traefik's file provider reads."""

    _assign: str

    @abc.abstractmethod
    def parse(self, text: str) -> Tree:
        """The tree of a text.

        Raises:
            BrokenFileError: if it is none of this format, or could not be written back as it is.
        """

    @abc.abstractmethod
    def heading(self, path: tuple[str, ...]) -> str:
        """The line, or lines, before the entries of a table."""

    @abc.abstractmethod
    def entry(self, depth: int, key: str, value: Node) -> str:
        """The line of an entry that is ``depth`` tables deep."""

    def inline(self, node: Node) -> str:
        """A node in one line."""
        if isinstance(node, Plain):
            return node or "null"
        if isinstance(node, str):
            return quote(node)
        if isinstance(node, Items) and (items := _in_order(node)) is not None:
            return "[" + ", ".join(map(self.inline, items)) + "]"
        return (
            "{" + ", ".join(f"{self.key(key)}{self._assign}{self.inline(value)}" for key, value in node.items()) + "}"
        )

    def key(self, name: str) -> str:
        """A name as a key, in quotes where it needs them."""
        return name if _BARE.fullmatch(name) and name.lower() not in _WORDS else quote(name)


def _in_order(items: Items) -> list[Node] | None:
    try:
        return [items[place] for place in places(len(items))]
    except KeyError:
        return None


class Toml(Format):
    """TOML 1.0."""

    _assign = " = "

    def __init__(self) -> None:
        # The standard library has it since Python 3.11.
        self._library: Any = _library("tomllib" if sys.version_info >= (3, 11) else "tomli")

    def parse(self, text: str) -> Tree:
        """See :meth:`Format.parse`."""
        try:
            return {name: _from_toml(value) for name, value in self._library.loads(text, parse_float=Plain).items()}
        except self._library.TOMLDecodeError as error:
            found = re.search(r" \(at line (\d+), column \d+\)$", str(error))
            line = int(found.group(1)) if found else text.count("\n") + 1
            raise BrokenFileError(line, re.sub(r" \(at .*\)$", "", str(error))) from None

    def heading(self, path: tuple[str, ...]) -> str:
        """See :meth:`Format.heading`."""
        return f"\n[{'.'.join(map(self.key, path))}]\n"

    def entry(self, depth: int, key: str, value: Node) -> str:
        """See :meth:`Format.entry`."""
        return f"{self.key(key)} = {self.inline(value)}\n"


def _from_toml(value: Any) -> Node:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return {key: _from_toml(child) for key, child in value.items()}
    if isinstance(value, list):
        return Items(zip(places(len(value)), map(_from_toml, value), strict=True))
    if isinstance(value, (bool, int)):
        return Plain(json.dumps(value))
    return Plain(value.isoformat())


class Yaml(Format):
    """YAML, in the part of it that its versions 1.1 and 1.2 have in common."""

    _assign = ": "

    def __init__(self) -> None:
        self._library: Any = _library("yaml")
        self._loader = getattr(self._library, "CBaseLoader", self._library.BaseLoader)

    def parse(self, text: str) -> Tree:
        """See :meth:`Format.parse`."""
        try:
            root = self._library.compose(text, Loader=self._loader)
        except self._library.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise BrokenFileError(line, f"the character U+{error.character:04X} is not allowed") from None
        except self._library.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise BrokenFileError(mark.line + 1, error.problem or error.context) from None
        tree = self._from_yaml(root) if root is not None else {}
        if is_null(tree):
            return {}
        if not isinstance(tree, dict) or isinstance(tree, Items):
            raise BrokenFileError(root.start_mark.line + 1, "the file is not a mapping")
        return tree

    def _from_yaml(self, node: Any) -> Node:
        if isinstance(node, self._library.ScalarNode):
            plain = not node.style and (node.value in _NULLS or _YAML_PLAIN.fullmatch(node.value))
            return Plain(node.value) if plain else str(node.value)
        if isinstance(node, self._library.SequenceNode):
            return Items(zip(places(len(node.value)), map(self._from_yaml, node.value), strict=True))
        tree: Tree = {}
        merged: Tree = {}
        for key, child in node.value:
            if not isinstance(key, self._library.ScalarNode):
                raise BrokenFileError(key.start_mark.line + 1, "a key is not a text")
            if key.value in tree:
                raise BrokenFileError(key.start_mark.line + 1, f"the key {key.value!r} stands here a second time")
            if key.value == "<<" and not key.style:
                merged = self._merged(self._from_yaml(child))
            else:
                tree[str(key.value)] = self._from_yaml(child)
        return {**merged, **tree}

    @staticmethod
    def _merged(node: Node) -> Tree:
        several = reversed(list(node.values())) if isinstance(node, Items) else [node]
        return {key: value for one in several if isinstance(one, dict) for key, value in one.items()}

    def heading(self, path: tuple[str, ...]) -> str:
        """See :meth:`Format.heading`."""
        return self._start(len(path) - 1, path[-1]) + "\n"

    def entry(self, depth: int, key: str, value: Node) -> str:
        """See :meth:`Format.entry`."""
        return f"{self._start(depth, key)} {self.inline(value)}\n"

    def _start(self, depth: int, key: str) -> str:
        indent, text = "  " * depth, self.key(key)
        return f"{indent}{text}\n{indent}:" if text.startswith("? ") else f"{indent}{text}:"

    def key(self, name: str) -> str:
        """See :meth:`Format.key`."""
        text = super().key(name)
        return f"? {text}" if len(text) > _YAML_KEY else text


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigurationError(
            f"The Python package {name!r} is not installed, which kvproxy reads the dynamic_config_file with; install "
            "it with: pip install 'kvproxy[file]'."
        ) from None


def format_of(name: str) -> Format:
    """The format that a file's name tells Traefik.

    Raises:
        ConfigurationError: if Traefik would not know the ending, or a library is not installed.
    """
    if name.endswith(".toml"):
        return Toml()
    if name.endswith((".yaml", ".yml")):
        return Yaml()
    raise ConfigurationError(f"dynamic_config_file = {name!r} must end in .toml, .yaml or .yml.")
