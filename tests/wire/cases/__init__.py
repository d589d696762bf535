"""All cases, by subject."""

from __future__ import annotations

from ..case import Case
from . import connections, errors, forwarded, headers, methods, paths, streams, websockets

#: Headings of the page and their cases.
SUBJECTS: dict[str, list[Case]] = {
    "Paths and queries": paths.CASES,
    "Balancers and who asks": forwarded.CASES,
    "Header fields": headers.CASES,
    "Methods and bodies": methods.CASES,
    "Streams and uploads": streams.CASES,
    "Websockets": websockets.CASES,
    "Errors": errors.CASES,
    "Connections": connections.CASES,
}
CASES = [case for cases in SUBJECTS.values() for case in cases]
