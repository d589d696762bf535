"""The sentences that kvproxy's code has for an administrator, read from its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass

from kvproxy import errors

from .blocks import ROOT

#: They are for developers of backends, or for a demonstration.
LEFT_OUT = {"testing", "demo"}
#: Of these, only errors and what is logged: the rest is the answer to a command, read at once.
COMMANDS = {"cli", "service"}
ERRORS = {
    name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.KVProxyError)
}
LOGGED = {"warning", "error", "critical", "exception"}
QUIET = {"info", "debug"}
#: Keywords of settings and commands that are help.
HELP = {"help", "epilog", "short_help"}

#: Words of a sentence that stands by itself; what is shorter is a part of one.
LEAST = 5

_CONVERSION = re.compile(r"%[sdrg]")
#: Not a comment of a file that kvproxy writes.
_SENTENCE = re.compile(r"(?!#).*[\w)'\"…]\.(?: |$|…)")
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Message:
    """A sentence of the code.

    Args:
        place: file and line.
        text: its text, with ``…`` for each value in it.
    """

    place: str
    text: str


def written(node: ast.AST) -> str:
    """The text of an expression, as far as it is written there.

    >>> written(ast.parse("f'{port} is in use' + why").body[0].value)
    '… is in use…'
    """
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else "…"
    if isinstance(node, ast.JoinedStr):
        return "".join(map(written, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return written(node.left) + written(node.right)
    return "…"


def messages_of(
    source: str, place: str = "", *, sentences: bool = True, logged: Set[str] = LOGGED
) -> Iterator[Message]:
    """All of a module: what it logs as a warning or worse, texts of errors, and other sentences unless not wanted."""
    # Kept, as nodes are known by their identity.
    tree, passed = ast.parse(source), set[int]()
    for node in ast.walk(tree):
        if id(node) in passed:
            continue
        if isinstance(node, Documented) and ast.get_docstring(node) is not None:
            passed |= _all_of(node.body[0])
        elif isinstance(node, ast.keyword) and node.arg in HELP:
            passed |= _all_of(node)
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and _name(node.exc.func) not in ERRORS:
            # Of a class of the code's own: it becomes a part of a message, or is a mistake of a program.
            passed |= _all_of(node)
        elif isinstance(node, ast.Call) and node.args:
            text = node.args[0]
            if _name(node.func) in QUIET - logged:
                passed |= _all_of(node)
            elif _name(node.func) in ERRORS or (_name(node.func) in logged and isinstance(node.func, ast.Attribute)):
                passed |= _all_of(text)
                if re.search("[a-z]{2}", found := _clean(written(text))):
                    yield Message(f"{place}:{node.lineno}", found)
        elif isinstance(node, ast.Constant | ast.JoinedStr):
            passed |= _all_of(node)
            found = _clean(written(node))
            if sentences and _SENTENCE.match(found) and len(found.split()) >= LEAST:
                yield Message(f"{place}:{node.lineno}", found)


def all_messages(logged: Set[str] = LOGGED) -> list[Message]:
    """Those of kvproxy and of the backends that come with it; what is logged, by these methods only."""
    found = []
    for file in sorted([*(ROOT / "kvproxy").rglob("*.py"), *(ROOT / "backends").rglob("*.py")]):
        parts = set(file.relative_to(ROOT).parts)
        if not LEFT_OUT & parts:
            place, source = str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")
            found += messages_of(source, place, sentences=not COMMANDS & parts, logged=logged)
    return found


def _all_of(node: ast.AST) -> set[int]:
    return {id(inner) for inner in ast.walk(node)}


def _name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _clean(text: str) -> str:
    return " ".join(_CONVERSION.sub("…", text).split())
