"""All cases, by subject."""

from __future__ import annotations

from ..case import Case
from . import paths

#: Headings of the page and their cases.
SUBJECTS: dict[str, list[Case]] = {
    "Paths and queries": paths.CASES,
}
CASES = [case for cases in SUBJECTS.values() for case in cases]
