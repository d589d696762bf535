"""Documents whose numbers are all made from results: places between markers, and what stands in several of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.results import Results


def write_places(document: Path, contents: Mapping[str, str]) -> None:
    """Replace what stands between ``<!-- name -->`` and ``<!-- /name -->``, once for each name.

    Raises LookupError if the document has no such place.
    """
    text = document.read_text(encoding="utf-8")
    for name, content in contents.items():
        place = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", re.DOTALL)
        found = place.search(text)
        if found is None:
            raise LookupError(f"{document.name} has no place for {name!r}.")
        text = f"{text[: found.end(1)]}\n{content}\n\n{text[found.start(2) :]}"
    document.write_text(text, encoding="utf-8")


def machine_line(results: Results, programs: Iterable[str]) -> str:
    """Machine and versions in one line; programs: names of those whose versions are told, if they took part."""
    about = results.machine
    named = [f"{name} {about['versions'][name]}" for name in programs if name in about["versions"]]
    return f"{', '.join(named)}; {about['cores']} cores, {about['cpu']}; {about['started']}."
