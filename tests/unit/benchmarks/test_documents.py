"""Figures in the documentation are those in the results."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import burden, foreign_keys, notifications, report, tiers
from benchmarks.document import write_places
from benchmarks.results import Results

#: Where `python -m benchmarks` writes.
PAGES = [(module, module.RESULTS) for module in (report, burden, foreign_keys, notifications, tiers)]


@pytest.mark.parametrize(
    ("page", "folder"), PAGES, ids=["benchmarks", "burden", "foreign keys", "notifications", "tiers"]
)
def test_the_pages_numbers_are_made_from_the_results(page, folder: Path, tmp_path: Path) -> None:
    """No number on these pages is typed by hand."""
    again = tmp_path / "page.md"
    again.write_text(page.DOCUMENT.read_text(encoding="utf-8"), encoding="utf-8")
    page.write_document(Results.load(folder), again)
    assert again.read_text(encoding="utf-8") == page.DOCUMENT.read_text(encoding="utf-8")
    assert "<!-- machine -->\n\n" in again.read_text(encoding="utf-8")


def test_a_page_without_a_place_is_told(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- one -->\nold\n<!-- /one -->\n")
    write_places(page, {"one": "new"})
    assert page.read_text() == "<!-- one -->\n\nnew\n\n<!-- /one -->\n"
    with pytest.raises(LookupError, match=r"page\.md has no place for 'two'"):
        write_places(page, {"two": "new"})
