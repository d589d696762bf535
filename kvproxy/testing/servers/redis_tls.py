"""A Redis that speaks TLS by itself, as none that comes as a wheel does."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from kvproxy.testing.servers.debian import debian_with_libraries
from kvproxy.testing.servers.programs import ServerError
from kvproxy.testing.servers.redis import RedisProgram

REDIS_TLS_VARIABLE: Final = "KVPROXY_REDIS_TLS_SERVER"
#: Libraries of Debian's server that a small installation may lack.
_LIBRARIES: Final = ("libjemalloc2", "liblzf1")


def redis_with_tls() -> RedisProgram:
    """A server's program built with TLS: the one that KVPROXY_REDIS_TLS_SERVER names, else Debian's, unpacked.

    Raises ServerError saying how to get one.
    """
    if named := os.environ.get(REDIS_TLS_VARIABLE):
        if path := shutil.which(named):
            return RedisProgram(Path(path))
        raise ServerError(f"The variable {REDIS_TLS_VARIABLE} names {named}, which is not a program.")
    try:
        program, libraries = debian_with_libraries("redis-tools", "usr/bin/redis-check-rdb", _LIBRARIES)
    except ServerError as error:
        raise ServerError(
            f"No Redis built with TLS was found. Name one in the variable {REDIS_TLS_VARIABLE}. {error}"
        ) from None
    return RedisProgram(_called_server(program), environment=libraries)


def _called_server(program: Path) -> Path:
    """The same program under the name by which it knows that it is to be the server."""
    link = program.with_name("redis-server")
    if not link.exists():
        made = Path(tempfile.mkdtemp(dir=program.parent)) / "redis-server"
        made.symlink_to(program)
        made.replace(link)
        made.parent.rmdir()
    return link
