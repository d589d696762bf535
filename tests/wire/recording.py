"""Observations behind configurable-http-proxy, kept so that the short form needs no npm."""

from __future__ import annotations

import json
from pathlib import Path

from .running import Views

FILE = Path(__file__).with_name("chp-5.3.json")
_MADE = "Seen behind configurable-http-proxy. Regenerate with `nox -s wire`; change nothing by hand."


def read(file: Path = FILE) -> Views:
    """The recording."""
    views: Views = json.loads(file.read_text(encoding="utf-8"))["views"]
    return views


def versions(file: Path = FILE) -> dict[str, str]:
    """The versions that it was made with."""
    found: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))["versions"]
    return found


def write(views: Views, versions: dict[str, str], file: Path = FILE) -> None:
    """Keep a recording, with the versions that it was made with."""
    text = json.dumps({"about": _MADE, "versions": versions, "views": views}, indent=1, ensure_ascii=False)
    file.write_text(text + "\n", encoding="utf-8")


def merge(old: Views, new: Views) -> Views:
    """A recording of some cases put into one of all."""
    return {setup: {**old.get(setup, {}), **new.get(setup, {})} for setup in {**old, **new}}
