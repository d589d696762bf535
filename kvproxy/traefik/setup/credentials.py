"""Users of Traefik's API, and their secrets."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final

import bcrypt

#: The user as which kvproxy itself asks Traefik's API.
HUB_USER: Final = "kvproxy"
#: bcrypt's cost for a password that a person chose: about 60 ms. It is paid by the person with that password, never by
#: kvproxy's own requests, which come with a random token and need no slow hash.
_BCRYPT_COST: Final = 10

_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BCRYPT_BASE64: Final = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class Secret(bytes):
    """A secret that no representation shows, its own or that of whatever holds it."""

    def __repr__(self) -> str:
        return f"<{len(self)} secret bytes>"

    __str__ = __repr__


@dataclass(frozen=True)
class ApiAccess:
    """kvproxy's login at Traefik's API, and all its users.

    Args:
        username: of kvproxy itself; empty for no login.
        password: with which password.
        users: ``name:hash`` for Traefik's basicAuth; empty if kvproxy does not set up the API.
    """

    username: str
    password: str = field(repr=False)
    users: tuple[str, ...] = field(default=(), repr=False)


def derive_key(secret: bytes, purpose: str) -> bytes:
    """32 bytes that only the holder of the secret can make, the same at each start."""
    return hmac.new(secret, b"kvproxy:" + purpose.encode(), hashlib.sha256).digest()


def hash_token(token: str) -> str:
    """A hash for Traefik's basicAuth that costs microseconds; safe only for a random token."""
    return "{SHA}" + base64.b64encode(hashlib.sha1(token.encode()).digest()).decode()  # noqa: S324


def hash_password(password: str, secret: bytes) -> str:
    """A bcrypt hash of a password, the same at each start so that a restart changes nothing in the store."""
    raw = base64.b64encode(derive_key(secret, "salt " + password)[:16]).rstrip(b"=")
    # The last character holds 4 spare bits, which bcrypt wants to be zero, as base64 has them.
    salt = b"$2b$%02d$" % _BCRYPT_COST + raw.translate(bytes.maketrans(_BASE64, _BCRYPT_BASE64))
    return bcrypt.hashpw(password.encode()[:72], salt).decode()


def api_access(*, set_up: bool, username: str, password: str, hashed_password: str, secret: bytes) -> ApiAccess:
    """Decide on the access to the API.

    Args:
        set_up: whether kvproxy sets up the API's router. It then lets itself in with a token of its own, and the
            configured user besides; if not, it has to come as the configured user.
        username: ``traefik_api_username``.
        password: ``traefik_api_password``.
        hashed_password: ``traefik_api_hashed_password``.
        secret: what the token is derived from.
    """
    if not set_up:
        return ApiAccess(username, password)
    token = derive_key(secret, "traefik api").hex()
    users = [f"{HUB_USER}:{hash_token(token)}"]
    if hashed_password or password:
        users.append(f"{username or 'jupyterhub'}:{hashed_password or hash_password(password, secret)}")
    return ApiAccess(HUB_USER, token, tuple(users))
