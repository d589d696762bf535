"""Connections that others in the network can read or impersonate."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable


def is_here(host: str) -> bool:
    """Return True if a host is this machine's loopback interface, or empty, as with a unix socket.

    >>> is_here("127.0.0.1"), is_here("localhost"), is_here("[::1]"), is_here("redis.example.org")
    (True, True, True, False)
    """
    name = host.strip("[]").lower()
    if name in {"", "localhost"} or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def clear_text(name: str, hosts: Iterable[str], *, tls: bool, verify: bool, what: str, mend: str) -> list[str]:
    """Return warnings about a connection to other machines.

    Args:
        name: the servers' program, such as ``"Redis"``.
        hosts: names or addresses of the servers.
        tls: True if the connection uses TLS.
        verify: True if the server's certificate is verified.
        what: the data that passes the network, such as ``"passwords and routes"``.
        mend: a sentence that explains how to use TLS, and names the setting by which a certificate is trusted.
    """
    away = [host for host in hosts if not is_here(host)]
    if not away or (tls and verify):
        return []
    where = f"{name} on another machine ({', '.join(away)})"
    if tls:
        return [f"The certificate of {where} is not checked, so any machine on the way can pose as it. {mend}"]
    return [
        f"{where} is reached without TLS: {what} can be read and changed on the way. {mend} Otherwise keep the "
        "connection within a network that you trust."
    ]
