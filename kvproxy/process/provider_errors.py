"""Errors of Traefik's provider in Traefik's log: why it does not read the store."""

from __future__ import annotations

import json
from typing import Final

#: Beginnings of the messages of such lines (`pkg/provider/kv/kv.go` and `pkg/provider/aggregator`, 3.7).
_MESSAGES: Final = (
    "Provider error, retrying",
    "KV connection error, retrying",
    "Cannot build the configuration",
    "Cannot start the provider",
)
#: Traefik's words before the store's own.
_PREFIX: Final = "KV store connection error: "


def provider_error(line: str, provider: str) -> str:
    """The error of a provider that a line of Traefik's log tells; empty for any other line.

    Args:
        line: one line, in JSON.
        provider: the provider's name, such as ``redis``. A line that names none counts as well.

    >>> provider_error('{"message":"Provider error, retrying in 1s","providerName":"redis","error":"gone"}', "redis")
    'gone'
    """
    if not any(message in line for message in _MESSAGES):
        return ""
    try:
        fields = json.loads(line)
        message, name = fields["message"], fields.get("providerName", provider)
        error = fields["error"]
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return ""
    if name != provider or not str(message).startswith(_MESSAGES) or not isinstance(error, str):
        return ""
    return error.removeprefix(_PREFIX)
