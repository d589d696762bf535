"""Messages of etcd's JSON gateway."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

from kvproxy.store.http import Answer

#: gRPC's status code of a dead token.
UNAUTHENTICATED: Final = 16


def found_in(part: dict[str, Any]) -> list[dict[str, Any]]:
    """The keys and values in one part of a transaction's answer, as etcd has them."""
    found: list[dict[str, Any]] = part.get("response_range", part.get("responseRange", {})).get("kvs", [])
    return found


def below(root: str, found: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Keys without their root, and values, as text."""
    pairs = ((decode(pair["key"]), decode(pair.get("value", ""))) for pair in found)
    return {key[len(root) :]: value for key, value in pairs}


def range_of(key: str, **options: Any) -> dict[str, Any]:
    """The part of a transaction that reads a key, or more with ``range_end``."""
    return {"requestRange": {"key": encode(key), **options}}


def code_of(answer: Answer) -> int | None:
    """gRPC's status code in the body of an error, None if there is none."""
    said = answer.json()
    code = said.get("code") if isinstance(said, dict) else None
    return code if isinstance(code, int) else None


def message_of(answer: Answer) -> str:
    """etcd's own words."""
    said = answer.json()
    if isinstance(said, dict):
        # etcd 3.4 once had only the second.
        return str(said.get("message") or said.get("error") or "").rstrip(".")
    return answer.text


def token_died(answer: Answer) -> bool:
    """True if a new token helps.

    The one in use is too old, or from before a restart or a change of rights, or there was no need for one so far.
    """
    said = message_of(answer)
    return code_of(answer) == UNAUTHENTICATED or "auth store is old" in said or "user name is empty" in said


def encode(text: str) -> str:
    """A key or value as the gateway takes it."""
    return base64.b64encode(text.encode()).decode()


def decode(text: str) -> str:
    """A key or value that the gateway gave."""
    return base64.b64decode(text).decode()
