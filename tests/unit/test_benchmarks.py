"""What the documentation says was measured is what is in the raw results."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_throttles_table_is_made_from_the_raw_results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No number on the page is typed by hand."""
    monkeypatch.syspath_prepend(ROOT)
    throttle = importlib.import_module("benchmarks.throttle")
    page = ROOT / "docs" / "throttle.md"
    again = tmp_path / "throttle.md"
    again.write_text(page.read_text())
    throttle.write_document(throttle.Results.load(throttle.RESULTS), again)
    assert again.read_text() == page.read_text()
    assert "| `2s` " in again.read_text()
