"""Clicks and words from the site's first page to a running hub, a failing hub's reason, and a logged sentence.

python -m tests.docs.clicks             print the table of the site in docs/_build/html
python -m tests.docs.clicks --write     put it into CONTRIBUTING.md as well

It fails if the site's search does not lead from every sentence that kvproxy logs to the page on troubles.
"""

from __future__ import annotations

import argparse
import heapq
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import snowballstemmer

from tests.docs.blocks import ROOT
from tests.docs.messages import all_messages

SITE = ROOT / "docs" / "_build" / "html"
PAGE = ROOT / "CONTRIBUTING.md"
FIRST, TUTORIAL, TROUBLES = "index.html", "tutorial/index.html", "how-to/troubleshooting.html"
_BEGIN, _END = "<!-- clicks -->", "<!-- /clicks -->"
_WORD = re.compile(r"\w+")


@dataclass
class Article(HTMLParser):
    """The text of a page's article, and the links in it.

    Args:
        name: the page's path in the site.
    """

    name: str
    text: str = ""
    #: The page that a link leads to, and the number of words before it.
    links: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note where an article begins, and its links to other pages."""
        if tag == "article":
            self._depth += 1
        target = dict(attrs).get("href") or ""
        if tag == "a" and self._depth and target and "://" not in target and not target.startswith(("#", "_")):
            base = Path("/", self.name).parent
            path = (base / target.partition("#")[0]).as_posix()
            resolved = Path(re.sub(r"[^/]+/\.\./", "", path)).as_posix().lstrip("/")
            self.links.append((resolved, self.words()))

    def handle_endtag(self, tag: str) -> None:
        """Note where it ends."""
        if tag == "article":
            self._depth -= 1

    def handle_data(self, data: str) -> None:
        """Gather its text."""
        if self._depth:
            self.text += data

    def words(self, until: str = "") -> int:
        """Number of words, up to a text if one is given."""
        text = self.text if not until else self.text[: self.text.index(until)]
        return len(_WORD.findall(text))


def article(site: Path, name: str) -> Article:
    """A page of the site."""
    parsed = Article(name)
    parsed.feed((site / name).read_text(encoding="utf-8"))
    return parsed


def path_to(site: Path, target: str, until: str) -> tuple[int, int]:
    """The fewest clicks from the first page to a text on another one, and the words before it on all pages."""
    queue, seen = [(0, 0, FIRST)], set[str]()
    while queue:
        clicks, words, name = heapq.heappop(queue)
        if name in seen or not (site / name).is_file() or not name.endswith(".html"):
            continue
        seen.add(name)
        page = article(site, name)
        if name == target:
            return clicks, words + page.words(until)
        for linked, before in page.links:
            heapq.heappush(queue, (clicks + 1, words + before, linked))
    raise SystemExit(f"No link leads from {FIRST} to {target}.")


class Search:
    """The site's search, as its own script does it: pages that have every word, the best first.

    Args:
        index: the contents of ``searchindex.js``.
        language: the contents of ``language_data.js``, which has the words that the script passes over.
    """

    def __init__(self, index: str, language: str) -> None:
        found: dict[str, Any] = json.loads(
            index.removeprefix("Search.setIndex(").rstrip().rstrip(";").removesuffix(")")
        )
        self._names, self._terms, self._titles = found["docnames"], found["terms"], found["titleterms"]
        stopwords = re.search(r"stopwords = new Set\((\[.*?\])\)", language, re.DOTALL)
        self._stopwords: set[str] = set(json.loads(stopwords[1]))  # type: ignore[index]
        self._stem = snowballstemmer.stemmer("english").stemWord

    def pages(self, query: str) -> list[str]:
        """Names of pages."""
        scores: dict[int, int] = {}
        common: set[int] | None = None
        for word in self._words(query):
            by_page: dict[int, int] = {}
            for terms, whole, part in ((self._terms, 5, 2), (self._titles, 15, 7)):
                for term, score in self._matching(terms, word, whole, part):
                    for page in terms[term] if isinstance(terms[term], list) else [terms[term]]:
                        by_page[page] = max(by_page.get(page, 0), score)
            common = by_page.keys() if common is None else common & by_page.keys()
            for page, score in by_page.items():
                scores[page] = max(scores.get(page, 0), score)
        ranked = sorted(common or (), key=lambda page: (-scores[page], self._names[page]))
        return [self._names[page] for page in ranked]

    def _words(self, query: str) -> Iterator[str]:
        for word in re.findall(r"\w+", query.lower()):
            # Shorter ones may be missing, and digits are passed over.
            if len(word) > 2 and not word.isdigit() and word not in self._stopwords:
                yield self._stem(word)

    @staticmethod
    def _matching(terms: dict[str, Any], word: str, whole: int, part: int) -> Iterator[tuple[str, int]]:
        if word in terms:
            yield word, whole
        else:
            yield from ((term, part) for term in terms if word in term)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 1 if a logged sentence does not lead to its page."""
    parser = argparse.ArgumentParser(prog="python -m tests.docs.clicks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the table into CONTRIBUTING.md")
    write, site = parser.parse_args(arguments).write, SITE
    index, language = site / "searchindex.js", site / "_static" / "language_data.js"
    search = Search(index.read_text(encoding="utf-8"), language.read_text(encoding="utf-8"))
    running = path_to(site, TUTORIAL, "JupyterHub is now running")
    failing = path_to(site, TROUBLES, "kvproxy check")
    page = TROUBLES.removesuffix(".html")
    sentences = sorted({message.text for message in all_messages()})
    results = {text: search.pages(text.replace("…", " ")) for text in sentences}
    lost = [text for text, found in results.items() if page not in found]
    first = sum(found[:1] == [page] for found in results.values())
    count = len(sentences)
    table = (
        "| from the first page to | clicks | words on the way |\n|---|---|---|\n"
        f"| a running hub: its last line in the tutorial | {running[0]} | {running[1]} |\n"
        f"| the reason of a failing hub: `kvproxy check` | {failing[0]} | {failing[1]} |\n"
        f"| a logged sentence's page, by the site's search | 2 | found for {count - len(lost)} of {count} sentences, "
        f"as the first result for {first} |"
    )
    print(table)
    if write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
        PAGE.write_text(f"{before}{_BEGIN}\n\n{table}\n\n{_END}{rest.partition(_END)[2]}", encoding="utf-8")
    for text in lost:
        print(f"The search does not lead from this sentence to {TROUBLES}: {text}", file=sys.stderr)
    return int(bool(lost))


if __name__ == "__main__":
    sys.exit(main())
