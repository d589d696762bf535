"""The page about troubles has every sentence that kvproxy's code says to an administrator, and no other."""

from __future__ import annotations

import ast
import re
from typing import TypeGuard

from .blocks import ROOT, all_blocks
from .messages import QUIET, Message, all_messages, messages_of, written

PAGE = ROOT / "docs" / "how-to" / "troubleshooting.md"
#: Letters of an excerpt, so that it can be told from others.
LEAST = 7
#: Beginnings of lines of a good start.
BEGINNINGS = ("Traefik ", "The master of Redis is now", "Routes are changed by")
#: Those of JupyterHub's own lines, and of findings.
OTHERS = ("Starting managed service", "ok  ")
#: How-to guides after which no hub starts in another way.
WITHOUT_START = {
    "choose-a-store",
    "index",
    "sizing",
    "slow-requests",
    "troubleshooting",
    "write-a-backend",
    "zookeeper",
}


def excerpts(text: str) -> list[str]:
    """The beginnings of messages that a page quotes: the code in the first column of its tables."""
    rows = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| `")]
    return [excerpt for row in rows for excerpt in re.findall(r"`([^`]+)`", row)]


def lacking(messages: list[Message], quoted: list[str]) -> list[str]:
    """The messages that no excerpt is a part of."""
    return [f"{one.place}: {one.text}" for one in messages if not any(excerpt in one.text for excerpt in quoted)]


def test_every_message_of_the_code_is_on_the_page() -> None:
    """Quote a part of a missing one in the first column of a table there, with … for values."""
    messages = all_messages()
    assert len(messages) > 250
    assert lacking(messages, excerpts(PAGE.read_text(encoding="utf-8"))) == []


def test_the_page_quotes_nothing_that_the_code_does_not_say() -> None:
    """A message that was reworded is reworded there too."""
    texts = [one.text for one in all_messages()]
    quoted = excerpts(PAGE.read_text(encoding="utf-8"))
    assert [excerpt for excerpt in quoted if not any(excerpt in text for text in texts)] == []
    assert [excerpt for excerpt in quoted if len(re.findall(r"\w", excerpt)) < LEAST] == []
    assert len(set(quoted)) == len(quoted)


def test_each_row_says_what_it_means_and_what_to_do() -> None:
    """In three columns, none of them empty."""
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert [row for row in rows if len([cell for cell in row.strip("|").split(" | ") if cell.strip()]) != 3] == []


def test_a_good_start_is_shown_in_the_words_of_the_log() -> None:
    """The lines of kvproxy's own in blocks of text, on every page."""
    informed = [one.text for one in all_messages(QUIET) if one.text.startswith(BEGINNINGS)]
    patterns = [re.compile(re.escape(text).replace("…", ".+")) for text in informed]
    shown = [line for block in all_blocks() if block.language == "text" for line in block.text.splitlines()]
    lines = [line for line in shown if line.startswith(BEGINNINGS)]
    assert len(lines) >= 8
    assert [line for line in lines if not any(pattern.fullmatch(line) for pattern in patterns)] == []


def shown_on(page: str) -> list[str]:
    """Lines of the log and of `kvproxy check` in a page's blocks of text."""
    blocks = [block for block in all_blocks() if block.language == "text" and block.page == page]
    return [line for block in blocks for line in block.text.splitlines() if line.startswith((*BEGINNINGS, *OTHERS))]


def test_each_guide_shows_a_good_start() -> None:
    """Or the line of a check that tells that it has worked."""
    guides = {file.stem: str(file.relative_to(ROOT)) for file in PAGE.parent.glob("*.md")}
    assert guides.keys() >= WITHOUT_START
    assert [name for name, page in guides.items() if name not in WITHOUT_START and not shown_on(page)] == []


def test_findings_are_shown_in_the_words_of_check() -> None:
    """Those that all is well, on every page."""
    source = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "kvproxy/cli/check").glob("*.py"))
    calls = [
        node for node in ast.walk(ast.parse(source.replace("from __future__ import annotations", ""))) if _is_ok(node)
    ]
    told = [f"{written(call.args[0])}: {written(call.args[1])}" for call in calls]
    patterns = [re.compile("ok +" + re.escape(text).replace("…", ".+")) for text in told]
    shown = [line for block in all_blocks() if block.language == "text" for line in block.text.splitlines()]
    lines = [line for line in shown if line.startswith("ok  ")]
    assert len(lines) >= 3
    assert [line for line in lines if not any(pattern.fullmatch(line) for pattern in patterns)] == []


def _is_ok(node: ast.AST) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ok" and len(node.args) > 1


def test_messages_are_found_in_every_form() -> None:
    """Logged, raised, returned and put together; not in help, docstrings or what is only informed of."""
    source = '''
"""A module. It says much."""
class A(Trait):
    port = Int(help="The port is free to choose here.")
log.warning("The port %d is in use.", 1)
log.info("The port is free now, as you wanted.")
raise StoreError(f"{place} is full; " f"empty it.") from None
reason = f"The store at {place} is empty now." + more
def complain():
    log.error("%s has failed", "The first statement")
raise ValueError("The port is odd")
'''
    assert [one.text for one in messages_of(source)] == [
        "The port … is in use.",
        "… is full; empty it.",
        "The store at … is empty now.",
        "… has failed",
    ]
    assert [one.text for one in messages_of(source, sentences=False)] == [
        "The port … is in use.",
        "… is full; empty it.",
        "… has failed",
    ]


def test_a_missing_message_is_found() -> None:
    """Or the test above would show nothing."""
    messages = [Message("a.py:1", "The port … is in use."), Message("a.py:2", "… is full; empty it.")]
    assert lacking(messages, excerpts("| `The port … is in use` | a | b |")) == ["a.py:2: … is full; empty it."]
