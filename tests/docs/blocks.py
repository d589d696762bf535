"""The blocks of code of the documentation, and what is to be done with each; CONTRIBUTING.md tells authors.

A block is a Markdown fence. The action follows from its language, or from a comment on the line above::

    <!-- run -->
    <!-- tested: tests/e2e/test_etcd.py::test_of_that_name -->
    <!-- not run: it needs root -->
    <!-- continued -->
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: The action for a block of this language unless a comment says otherwise.
BY_LANGUAGE = {
    "python": "configuration",
    "toml": "parse",
    "yaml": "parse",
    "json": "parse",
    "ini": "parse",
    "text": "nothing",
    "mermaid": "nothing",
}
SHELLS = {"", "bash", "console", "sh"}
HOW = (
    "put <!-- run -->, <!-- tested: tests/…::test_name --> or <!-- not run: the reason --> on the line above it, or "
    f"give it one of these languages, which are checked by themselves: {', '.join(sorted(BY_LANGUAGE))}"
)

_FENCE = re.compile(r"^( *)(`{3,})([^`]*)$")
_COMMENT = re.compile(r"^ *<!-- (run|tested|not run|continued)(?:: (.+))? -->$")


@dataclass(frozen=True)
class Block:
    """A fence of a page.

    Args:
        page: the page's path, relative to the checkout.
        line: number of the line that opens it.
        language: the first word behind the backticks, ``{…}`` for a directive of Sphinx's.
        text: what is in it; of one that continues another, what is in both.
        comment: ``run``, ``tested``, ``not run`` or ``continued``, empty without a comment.
        argument: what stands behind the comment's colon.
    """

    page: str
    line: int
    language: str
    text: str
    comment: str = ""
    argument: str = ""

    @property
    def name(self) -> str:
        """The name of its test."""
        return f"{self.page}:{self.line}"

    @property
    def action(self) -> str:
        """The action: ``configuration``, ``parse``, ``run``, ``tested`` or ``nothing``.

        Raises:
            ValueError: if the action is not given, or a comment does not fit.
        """
        if self.language.startswith("{"):
            return "nothing"  # its contents are Sphinx's business
        if self.comment in {"tested", "not run"}:
            if not self.argument:
                raise ValueError(f"{self.name}: the comment {self.comment!r} says nothing behind a colon")
            return "tested" if self.comment == "tested" else "nothing"
        if self.comment == "run":
            if self.language not in SHELLS:
                raise ValueError(f"{self.name}: only shell commands can be run, and this is {self.language}")
            return "run"
        if self.comment == "continued" and self.language != "python":
            raise ValueError(f"{self.name}: only Python blocks can continue another, and this is {self.language}")
        if self.language not in BY_LANGUAGE:
            raise ValueError(f"{self.name}: nobody says how this block is tested; {HOW}")
        return BY_LANGUAGE[self.language]


def pages() -> list[Path]:
    """All Markdown that a reader may copy from."""
    found = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "RELEASE.md", "SECURITY.md")]
    return [*top, *sorted(page for page in found if "_build" not in page.parts)]


def blocks_of(text: str, page: str) -> Iterator[Block]:
    """The blocks of a page, in order; one that continues another has the text of the Python block before it too."""
    before, python, lines = "", "", enumerate(text.splitlines(), start=1)
    for number, line in lines:
        opened = _FENCE.match(line)
        if opened is None:
            before = line or before
            continue
        end = re.compile(rf"^ *{opened[2]}`* *$")
        body = []
        for _, inner in lines:
            if end.match(inner):
                break
            body.append(inner)
        comment = _COMMENT.match(before)
        block = Block(
            page=page,
            line=number,
            language=(opened[3].split() or [""])[0],
            text=textwrap.dedent("\n".join(body)) + "\n",
            comment=comment[1] if comment else "",
            argument=(comment[2] or "") if comment else "",
        )
        if block.comment == "continued":
            block = replace(block, text=python + block.text)
        if block.language == "python":
            python = block.text
        yield block
        before = ""


def all_blocks() -> list[Block]:
    """The blocks of all pages."""
    return [
        block for page in pages() for block in blocks_of(page.read_text(encoding="utf-8"), str(page.relative_to(ROOT)))
    ]


def doing(action: str) -> list[Block]:
    """The blocks of all pages with which this is done. Those that say nothing are another test's business."""
    found = []
    for block in all_blocks():
        try:
            if block.action == action:
                found.append(block)
        except ValueError:
            continue
    return found


def commands(block: Block) -> str:
    """The shell commands of a block; in a ``console`` block they stand behind a prompt, and the rest is output."""
    if block.language != "console":
        return block.text
    lines = [line[2:] for line in block.text.splitlines() if line.startswith(("$ ", "> "))]
    return "\n".join(lines) + "\n"
