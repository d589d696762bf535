"""The service that the hub starts: login by the hub, one page, nothing that changes anything."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click
from jupyterhub.services.auth import HubOAuthCallbackHandler, HubOAuthenticated
from jupyterhub.utils import make_ssl_context
from tornado import web
from tornado.httpserver import HTTPServer

from ..cli.hub.config import Hub, load_hub
from ..errors import ConfigurationError, KVProxyError
from .source import HubApi, Source
from .view import Asked, page

_ASSETS: Final = Path(__file__).with_name("assets")
#: The scope of those who may open the hub's own admin page.
_SCOPE: Final = "admin-ui"
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class PageHandler(HubOAuthenticated, web.RequestHandler):
    """The page, for those who may open the hub's admin page."""

    def initialize(self, source: Source, prefix: str) -> None:
        """Take what the application gives."""
        self._source, self._prefix = source, prefix

    def set_default_headers(self) -> None:
        """Let the browser run and load nothing but the page's own script and style."""
        for name, value in _HEADERS.items():
            self.set_header(name, value)

    @web.authenticated
    async def get(self) -> None:
        """Show it."""
        user: dict[str, Any] = self.current_user
        if not may_look(user):
            raise web.HTTPError(403, "%s lacks the scope %s", user.get("name"), _SCOPE, reason="Administrators only")
        asked = Asked.of(*(self.get_query_argument(name, "") for name in ("prefix", "differing", "page")))
        findings = await self._source.findings()
        observation, name, token = await self._source.observation(), str(user.get("name")), self.xsrf_token
        self.finish(page(observation, asked, findings, self._prefix, name, token.decode()))


def may_look(user: dict[str, Any]) -> bool:
    """Tell if a user, as the hub describes it, is an administrator.

    >>> may_look({"name": "ada", "scopes": ["admin-ui"]}), may_look({"name": "bob", "admin": False})
    (True, False)
    """
    return _SCOPE in user.get("scopes", ())


def application(source: Source, prefix: str) -> web.Application:
    """The service as Tornado's application.

    Args:
        source: what the page shows.
        prefix: ``JUPYTERHUB_SERVICE_PREFIX``, with slashes at both ends.
    """
    return web.Application(
        [
            (prefix.rstrip("/") + "/?", PageHandler, {"source": source, "prefix": prefix}),
            (prefix + "oauth_callback", HubOAuthCallbackHandler),
            (prefix + r"assets/(page\.(?:js|css))", web.StaticFileHandler, {"path": str(_ASSETS)}),
        ],
        cookie_secret=os.urandom(32),
        compress_response=True,
    )


def _tls(environ: Mapping[str, str]) -> ssl.SSLContext | None:
    """The context of a client of the hub, from the files that it gives a service with ``internal_ssl``."""
    files = [environ.get(f"JUPYTERHUB_SSL_{name}", "") for name in ("KEYFILE", "CERTFILE", "CLIENT_CA")]
    if not all(files):
        return None
    key, cert, ca = files
    return make_ssl_context(key, cert, cafile=ca, purpose=ssl.Purpose.SERVER_AUTH)  # type: ignore[no-any-return]


async def serve(hub: Hub, environ: Mapping[str, str]) -> None:
    """Serve until the process ends.

    Raises:
        ConfigurationError: if it was not the hub that started this program, or its URL cannot work.
    """
    names = ("JUPYTERHUB_SERVICE_URL", "JUPYTERHUB_SERVICE_PREFIX", "JUPYTERHUB_API_URL", "JUPYTERHUB_API_TOKEN")
    if missing := [name for name in names if not environ.get(name)]:
        raise ConfigurationError(
            f"The variable {missing[0]} is not set: the hub starts this program, as a service with a url and a "
            "command; see docs/how-to/admin-page.md."
        )
    url, prefix, api, token = (environ[name] for name in names)
    where = urlsplit(url)
    if where.scheme != "http":
        # JupyterHub 5.0 to 6.1 cannot wait for a service with an https URL (findings/jupyterhub-https-service.sh).
        raise ConfigurationError(f"The service's url is {url!r}, but it speaks plain HTTP; write 'http://127.0.0.1:…'.")
    source = Source(hub, HubApi(api, token, _tls(environ)))
    server = HTTPServer(application(source, prefix), xheaders=True)
    server.listen(where.port or 80, where.hostname or "127.0.0.1")
    await asyncio.Event().wait()


@click.command()
@click.option("-f", "--config", "file", default="jupyterhub_config.py", help="The hub's configuration file.")
@click.option("--hub-argument", "arguments", multiple=True, help="An argument that the hub is started with besides -f.")
def command(file: str, arguments: tuple[str, ...]) -> None:
    """Show administrators the routes of the hub that starts this program, and who serves them."""
    try:
        asyncio.run(serve(load_hub(file, arguments), dict(os.environ)))
    except KVProxyError as problem:
        raise click.ClickException(str(problem)) from None
