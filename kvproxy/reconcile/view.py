"""The two states of the store loop; drawn in docs/explanation/consistency.md."""

from __future__ import annotations

from enum import Enum


class View(Enum):
    """The loop's knowledge of the store; drawn in docs/explanation/consistency.md."""

    #: Never read. The first read takes over the routes that are there.
    UNREAD = "unread"
    #: It may have changed, so it is read before anything is written.
    STALE = "stale"
    #: It is as this loop left it.
    IN_STEP = "in step"
    #: The loop has ended.
    CLOSED = "closed"


class NextCommit(Enum):
    """The part of the next commit that Traefik may load before the rest is written."""

    #: Any part of it: after each transaction, every request still reaches the right server.
    IN_PARTS = "in parts"
    #: Only all of it: a part of it would misroute requests. It stays so until nothing is left to write.
    WHOLE = "whole"
