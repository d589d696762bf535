"""Docstrings, comments and names of tests are plain sentences, as CONTRIBUTING.md asks for."""

from __future__ import annotations

import functools
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ["kvproxy", "backends", "benchmarks", "tests"]
FILES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))
#: Those that users import.
PACKAGES = [file for file in FILES if file.parts[len(ROOT.parts)] in {"kvproxy", "backends"}]

PAGES = [ROOT / name for name in ("CONTRIBUTING.md", "README.md")]

#: A sentence that is a clause, and so has no verb of its own; a question has one.
_CLAUSE = re.compile(r"(?:^|[.:] )((?:What|Who|Whoever|Whatever|Whether|Whose)\b[^.?]*)(?:\.|$)")
#: Words that are not English here; "restart", "forever", "per key", "notified of", "unreachable" and so on are.
_FOREIGN = re.compile(
    r"\b(?:anew|for ever|so many|once a (?:key|change)|told of|comes? to the same|that is none|belongs? into"
    r"|(?:is|are) away)\b"
)
_DOCSTRING = re.compile(r'^ *[rf]?"""(.*?)"""', re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"(?:^|  )#[:! ]*(.+)$", re.MULTILINE)
_NAME = re.compile(r"test_(?:what|who|whom|whoever|whatever|whether|nobody)_")


def clauses(text: str) -> list[str]:
    """Sentences of a text that begin with What, Who or Whether and ask nothing."""
    return _CLAUSE.findall(" ".join(text.split()))


@functools.cache
def source_of(file: Path) -> str:
    """The text of a file."""
    return file.read_text(encoding="utf-8")


def docstrings(file: Path) -> list[str]:
    """All docstrings of a module, and other long texts; `ast` would take ten times as long."""
    return _DOCSTRING.findall(source_of(file))


def comments(file: Path) -> list[str]:
    """Lines of comments, and what looks like one; `tokenize` would take five times as long."""
    return _COMMENT.findall(source_of(file))


def at(file: Path, text: str) -> str:
    """A finding, as a line of a failure."""
    return f"{file.relative_to(ROOT)}: {text}"


def test_no_sentence_is_a_clause() -> None:
    """A docstring begins with a verb or a noun."""
    assert FILES
    found = [
        at(file, clause) for file in FILES for text in (*docstrings(file), *comments(file)) for clause in clauses(text)
    ]
    assert found == []


def test_no_docstring_begins_with_a_question_word() -> None:
    """Neither do comments of attributes."""
    assert PACKAGES
    begin = re.compile(r"(?:How|Where|When|Which) [^?]*$", re.DOTALL)
    attribute = re.compile(r"^ *#: (.+)", re.MULTILINE)
    found = [
        at(file, text)
        for file in PACKAGES
        for text in (*attribute.findall(source_of(file)), *docstrings(file))
        if begin.match(text)
    ]
    assert found == []


def test_the_words_are_those_of_the_field() -> None:
    """In code, messages and the pages for developers."""
    found = [
        at(file, line) for file in (*PACKAGES, *PAGES) for line in source_of(file).splitlines() if _FOREIGN.search(line)
    ]
    assert found == []


def test_names_of_tests_say_the_behaviour() -> None:
    """With a noun as their subject."""
    names = [
        name
        for file in FILES
        if file.name.startswith("test_")
        for name in re.findall(r"^ *(?:async )?def (test_\w+)", source_of(file), re.MULTILINE)
    ]
    assert len(names) > 1000
    assert [name for name in names if _NAME.match(name)] == []


def test_a_clause_is_found() -> None:
    """Or the tests above would show nothing."""
    here = Path(__file__)
    assert (
        docstrings(here)[0]
        == "Docstrings, comments and names of tests are plain sentences, as CONTRIBUTING.md asks for."
    )
    assert "Those that users import." in comments(here)
    assert clauses("Whether it runs.") == ["Whether it runs"]
    assert clauses("Ask. What is\nmissing is none.") == ["What is missing is none"]
    assert clauses("True if it runs, whether or not. What does it cost?") == []
    assert _FOREIGN.search("It is started anew.")
