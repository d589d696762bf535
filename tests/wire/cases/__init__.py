"""All cases, by subject."""

from __future__ import annotations

from ..case import Case
from . import connections, errors, forwarded, headers, methods, paths, streams, uploads, websockets

#: Headings of the page and their cases.
SUBJECTS: dict[str, list[Case]] = {
    "Paths and queries": paths.CASES,
    "Balancers": forwarded.CASES,
    "Header fields": headers.CASES,
    "Methods and bodies": methods.CASES,
    "Streams": streams.CASES,
    "Uploads": uploads.CASES,
    "Websockets": websockets.CASES,
    "Errors": errors.CASES,
    "TLS, HTTP/2 and idle connections": connections.CASES,
}
CASES = [case for cases in SUBJECTS.values() for case in cases]
