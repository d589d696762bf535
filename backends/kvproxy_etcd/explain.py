"""etcd's errors in kvproxy's words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kvproxy import StoreAuthError, StoreError, StoreUnavailableError, StoreWriteRefusedError
from kvproxy.store.connection import HttpConnection
from kvproxy.store.http import Answer, wrong_protocol

from .connection import ETCD
from .messages import UNAUTHENTICATED, code_of, message_of

_NO_PERMISSION: Final = 7
_EXHAUSTED: Final = 8
#: Cancelled by a server that stops, deadline, abort, and unavailable: no leader, a leader that changed, a time-out.
_PASSING: Final = {1, 4, 10, 14}
#: Messages of a member that is busier than the others, or does not vote yet (etcd's rpctypes, 3.4 to 3.8).
_ELSEWHERE: Final = ("too many requests", "not supported for learner")


def passing(answer: Answer, connection: HttpConnection) -> StoreUnavailableError | None:
    """True if this member cannot help, though another may, such as one without a leader or that is going down."""
    if answer.status == 200:
        return None
    text = connection.redact(message_of(answer))
    code = code_of(answer)
    # Without a code, the answer is that of a gateway or proxy in front of etcd.
    passing = code in _PASSING or (code is None and answer.status in {429, 500, 502, 503, 504})
    if not passing and not any(reason in text for reason in _ELSEWHERE):
        return None
    said = text or f"HTTP {answer.status}"
    return StoreUnavailableError(f"{connection.at(answer.endpoint)} cannot help at the moment ({said}).")


def explain(answer: Answer, connection: HttpConnection, roots: Iterable[str]) -> StoreError:
    """Return the error for an answer that is no success."""
    where, code, text = connection.at(answer.endpoint), code_of(answer), message_of(answer)
    text = connection.redact(text)
    if "authentication failed" in text:
        return StoreAuthError(f"{where} refuses the credentials; check {ETCD.login}.")
    if "user name is empty" in text or (code == UNAUTHENTICATED and not connection.username):
        return StoreAuthError(f"{where} asks for a user; set {ETCD.login}.")
    if code == _NO_PERMISSION:
        who = connection.username or "nobody"
        return StoreAuthError(
            f"{where} does not let the user {who!r} read and write all keys below "
            f"{' and '.join(map(repr, roots))}; grant its role that."
        )
    if "database space exceeded" in text:
        return StoreWriteRefusedError(
            f"{where} is full; compact and defragment it, disarm its alarm, and set --auto-compaction-retention.",
            certain=answer.alone,
        )
    if code == _EXHAUSTED:
        return StoreWriteRefusedError(f"{where} takes no more just now ({text}).", certain=answer.alone)
    if answer.status == 404:
        return StoreError(
            f"{where} has no JSON gateway; start it with --enable-grpc-gateway=true, or correct etcd_url if this "
            "is not etcd."
        )
    if answer.status == 400 and code is None and connection.tls and connection.tls.cert:
        return StoreAuthError(
            f"{where} refuses a client certificate with a name (CN) at its JSON gateway while its authentication "
            "is on; make one without CN and set etcd_username and etcd_password."
        )
    return wrong_protocol(connection, answer) or StoreError(
        f"{where} answers: {text or 'nothing'} (HTTP {answer.status})."
    )
