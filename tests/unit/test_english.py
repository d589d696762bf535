"""Docstrings, comments and names of tests are plain sentences, as CONTRIBUTING.md asks for."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ["kvproxy", "backends", "benchmarks", "tests"]
FILES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))

PAGES = [ROOT / name for name in ("CONTRIBUTING.md", "README.md")]

#: A sentence that is a clause, and so has no verb of its own; a question has one.
_CLAUSE = re.compile(r"(?:^|[.:] )((?:What|Who|Whoever|Whatever|Whether|Whose)\b[^.?]*)(?:\.|$)")
#: Words that are not English here; "restart", "forever", "per key", "notified of", "unreachable" and so on are.
_FOREIGN = re.compile(
    r"\b(?:anew|for ever|so many|once a (?:key|change)|told of|comes? to the same|that is none|belongs? into"
    r"|(?:is|are) away)\b"
)
_NAME = re.compile(r"test_(?:what|who|whom|whoever|whatever|whether|nobody)_")


def clauses(text: str) -> list[str]:
    """Sentences of a text that begin with What, Who or Whether and ask nothing."""
    return _CLAUSE.findall(" ".join(text.split()))


def docstrings(source: str) -> Iterator[str]:
    """All of a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def texts(source: str) -> Iterator[str]:
    """Docstrings, and lines of comments."""
    yield from docstrings(source)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string.lstrip("#: ")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_sentence_is_a_clause(file: Path) -> None:
    """A docstring begins with a verb or a noun."""
    assert [clause for text in texts(file.read_text(encoding="utf-8")) for clause in clauses(text)] == []


@pytest.mark.parametrize(
    "file", [file for file in FILES if file.parts[len(ROOT.parts)] in {"kvproxy", "backends"}], ids=str
)
def test_no_docstring_begins_with_a_question_word(file: Path) -> None:
    """Neither do comments of attributes."""
    begin = re.compile(r"(?:How|Where|When|Which) [^?]*$", re.DOTALL)
    source = file.read_text(encoding="utf-8")
    found = [*re.findall(r"^ *#: (.+)", source, re.MULTILINE), *docstrings(source)]
    assert [text for text in found if begin.match(text)] == []


@pytest.mark.parametrize(
    "file", [*(file for file in FILES if file.parts[len(ROOT.parts)] in {"kvproxy", "backends"}), *PAGES], ids=str
)
def test_the_words_are_those_of_the_field(file: Path) -> None:
    """In code, messages and the pages for developers."""
    assert [line for line in file.read_text(encoding="utf-8").splitlines() if _FOREIGN.search(line)] == []


def test_names_of_tests_say_the_behaviour() -> None:
    """With a noun as their subject."""
    names = [
        name
        for file in FILES
        if file.name.startswith("test_")
        for name in re.findall(r"^ *(?:async )?def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(names) > 1000
    assert [name for name in names if _NAME.match(name)] == []


def test_a_clause_is_found() -> None:
    """Or the tests above would show nothing."""
    assert clauses("Whether it runs.") == ["Whether it runs"]
    assert clauses("Ask. What is\nmissing is none.") == ["What is missing is none"]
    assert clauses("True if it runs, whether or not. What does it cost?") == []
    assert _FOREIGN.search("It is started anew.")
