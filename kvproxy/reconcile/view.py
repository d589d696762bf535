"""The two states of the store loop; drawn in docs/explanation/consistency.md."""

from __future__ import annotations

from enum import Enum, IntEnum


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


class NextCommit(IntEnum):
    """The part of the next commit that Traefik may load. Of two demands on a commit, the greater one counts."""

    #: Any part of it: after each transaction, every request still reaches the right server.
    IN_PARTS = 0
    #: Only all of it: a part of it would misroute requests. One transaction is enough.
    WHOLE = 1
    #: The same, even by a read of Traefik during which a transaction is written.
    BETWEEN_READS = 2
