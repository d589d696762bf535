"""The pages are written in plain sentences and in the field's words, where CONTRIBUTING.md asks for them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .blocks import ROOT, pages

_FENCE = re.compile(r"^( *)(`{3,}).*?^ *\2`* *$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
#: Quoted words are others': of code, of the log, of a title.
_QUOTED = re.compile(r"``?[^`]+``?|\]\([^)]*\)|(?<![*\w])\*[^*\n]+\*(?![*\w])|\"[^\"\n]*\"")
_ITEM = re.compile(r"^ *(?:[-*]|\d+\.) +", re.MULTILINE)

#: A sentence that is a clause, and so has no verb of its own; a question has one.
_CLAUSE = re.compile(r"(?:^|[.:?!] )\W*((?:What|Who|Whom|Whose|Whoever|Whatever|Whether)\b[^.?:]*)(?=[.:]|$)")
#: Words that only a literal translation has; each with the field's own.
WORDS = {
    r"\banew\b": "again, or re-…",
    r"\bfor ever\b": "forever",
    r"\bwhoever\b|\bwhomever\b": "a noun",
    r"\b(?:is|are|was|were|be|been) told (?:of|again|about)\b": "is notified",
    r"\b(?:hub|store|Redis|etcd|Consul|Traefik|replicas?|master|it|they) (?:is|are|was|were) away\b": (
        "is unreachable"
    ),
    r"\bwhat for\b": "why",
    r"\bbelongs? into\b": "belongs in",
    r"\bcomes? to the same\b": "is idempotent, has the same effect",
    r"\bso many\b": "a number",
    r"\bthat is none\b": "an invalid …",
    r"\bmend(?:s|ed|ing)?\b": "repair, correct",
    r"\bin one (?:go|breath)\b": "atomically, directly",
    r"\bwithout a word\b": "silently",
    r"\bput right\b|\bputs (?:it|them|that|this|both) right\b": "repaired",
    r"\b(?:once|one|reload|reloads|event|events|key|keys|thread|line|lines) an? "
    r"(?:key|change|commit|route|line|store|group|entry|request)\b": "per …",
    r"\bnot as (?:it|they) should be\b": "wrong",
    r"\bthe midst of\b": "the middle of, during",
    r"\blooks? whether\b": "checks that",
    r"\bthe one\b[^.]{0,60}\bthe other from\b": "two sentences",
}


def without(pattern: re.Pattern[str], text: str, by: str = "") -> str:
    """The text without these parts, on the same lines."""
    return pattern.sub(lambda found: by + "\n" * found[0].count("\n"), text)


def sentences(text: str) -> Iterator[tuple[int, str]]:
    """Paragraphs, items, headings and cells of a page, by the line that each begins at; code is a single mark."""
    text = without(_COMMENT, without(_FENCE, text))
    begin, gathered = 0, ""
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        apart = not line.strip() or line.lstrip().startswith(("|", "#")) or _ITEM.match(line)
        if apart and gathered:
            yield begin, _QUOTED.sub("·", gathered)
            gathered = ""
        if line.lstrip().startswith("|"):
            yield from ((number, _QUOTED.sub("·", cell.strip())) for cell in line.split(" | "))
        elif line.lstrip().startswith("#"):
            yield number, _QUOTED.sub("·", line.strip().lstrip("# "))
        elif line.strip():
            begin = begin if gathered else number
            gathered += _ITEM.sub("", line).strip() + " "


def found(text: str) -> list[str]:
    """Each place of a page that breaks a rule, with the rule."""
    places = []
    for line, sentence in sentences(text):
        places += [f"{line}: a clause, not a sentence: {clause}" for clause in _CLAUSE.findall(sentence.strip(" |"))]
        places += [
            f"{line}: say {instead}: {word[0]}"
            for pattern, instead in WORDS.items()
            for word in re.finditer(pattern, sentence)
        ]
    return places


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_plain_english(page: Path) -> None:
    """No sentence, heading or cell is a clause with What, Who or Whether, and no word is a literal translation."""
    assert found(page.read_text(encoding="utf-8")) == []


def test_a_broken_rule_is_found() -> None:
    """Or the test above would show nothing; and code and questions may have these words."""
    assert found("# What is lost\n\nIt runs. Whether it runs is shown.\n") == [
        "1: a clause, not a sentence: What is lost",
        "3: a clause, not a sentence: Whether it runs is shown",
    ]
    assert found("| a | Who asks |\n\n- **What passes** is kept.\n- made\n  anew\n") == [
        "1: a clause, not a sentence: Who asks",
        "3: a clause, not a sentence: What passes** is kept",
        "4: say again, or re-…: anew",
    ]
    assert found("What does it cost? `What is this`, *Who can*.\n\n```text\nWhat it is anew.\n```\nSo what?\n") == []
