"""Certificates that a client does not trust: OpenSSL's reason, and the remedy."""

from __future__ import annotations

from typing import Final

_MADE_FOR_ANOTHER: Final = "have it made for the name or address by which the server is reached"


def reason(text: str) -> str:
    """Return the reason in an error of OpenSSL, without its prefixes and numbers.

    >>> reason("Cannot connect to host h:1 ssl:True [SSLError: (1, '[SSL: X] wrong version number (_ssl.c:1006)')]")
    'wrong version number'
    """
    return text.rpartition("] ")[2].partition(" (_ssl")[0] if "(_ssl" in text else text


def untrusted(where: str, text: str, ca: str, url: str) -> str:
    """Return a sentence about a server's certificate that is not trusted.

    Args:
        where: the server.
        text: the client's error.
        ca: name of the setting for the authority's certificate.
        url: name of the setting that names the server; empty if no setting does.

    >>> untrusted("Redis at h", "[SSL: X] certificate verify failed: certificate has expired (_ssl.c:1)", "ca", "url")
    'Redis at h has a certificate that is not trusted (certificate has expired); renew it at the server.'
    """
    why = reason(text).removeprefix("certificate verify failed: ")
    if "expired" in why or "not yet valid" in why:
        advice = "renew it at the server"
    elif "mismatch" in why or "not valid for" in why:
        advice = f"name the server as the certificate does, with {url}" if url else _MADE_FOR_ANOTHER
    else:
        advice = f"give its authority with {ca}"
    return f"{where} has a certificate that is not trusted ({why}); {advice}."
