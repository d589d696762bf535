"""JupyterHub's own tests, as its wheel ships them, on a proxy class of your choice.

    python -m pytest -c tests/hubsuite/pytest.ini -p kvproxy.testing.hubsuite --pyargs jupyterhub.tests.test_proxy

``--hubsuite-proxy NAME`` names the proxy as ``c.JupyterHub.proxy_class`` does; the default is ``traefik_redis``. One
that has a `redis_url` gets a Redis server of the session's own; where another's store is, say in a configuration file
of JupyterHub's kind, ``--hubsuite-config FILE``. With JUPYTERHUB_TEST_SUBDOMAIN_HOST (as ``http://hub.test:8000``) the
tests route by host name; the name and all below it are then 127.0.0.1 to the tests. With SSL_ENABLED=1 all hubs use
``internal_ssl``, as in JupyterHub's own builds.

The tests need settings that are not a project's usual ones, so give pytest a file of their own with ``-c``.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import itertools
import os
import socket
import sysconfig
import tempfile
from collections.abc import Awaitable, Callable, Generator, Iterable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from weakref import WeakSet

import pytest
from jupyterhub import utils
from jupyterhub.tests.mocking import MockHub
from traitlets.config.loader import PyFileConfigLoader

from kvproxy.testing.servers import RedisServer, free_port, slowness
from kvproxy.testing.servers.programs import heed_interrupts

_HOST_VARIABLE: Final = "JUPYTERHUB_TEST_SUBDOMAIN_HOST"
_SSL_VARIABLE: Final = "SSL_ENABLED"
#: Seconds in which a user's server starts or stops, also on a busy machine.
_START_SECONDS: Final = 100
#: Texts in the source of tests that are about configurable-http-proxy itself, and in which way.
_OTHER_PROXY: Final = {
    "configurable-http-proxy": "starts configurable-http-proxy itself",
    "ConfigurableHTTPProxy(": "starts configurable-http-proxy itself",
    "get(app.proxy.api_url": "asks for certificates at configurable-http-proxy's API; Traefik's asks for a token",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("hubsuite", "JupyterHub's own tests on another proxy")
    group.addoption(
        "--hubsuite-proxy",
        metavar="NAME",
        default="traefik_redis",
        help="the proxy class: an entry point's name, or package.module.Class (default: traefik_redis)",
    )
    group.addoption("--hubsuite-config", metavar="FILE", type=Path, help="a jupyterhub_config.py for every hub")


def pytest_configure(config: pytest.Config) -> None:
    # JupyterHub stops users' servers by SIGINT.
    heed_interrupts()
    suite = HubSuite(config.getoption("--hubsuite-proxy"), config.getoption("--hubsuite-config"))
    config.pluginmanager.register(suite, "kvproxy-hubsuite")


class HubSuite:
    """The plugin of one session: what its hubs are given, and what must be undone at its end.

    Args:
        proxy_class: as for ``c.JupyterHub.proxy_class``.
        config_file: further configuration, which wins over the plugin's own.
    """

    def __init__(self, proxy_class: str, config_file: Path | None = None) -> None:
        self.proxy_class = proxy_class
        self.config_file = config_file
        self.host = urlsplit(os.environ.get(_HOST_VARIABLE, "")).hostname
        self._numbers = itertools.count(1)
        self._checks: WeakSet[asyncio.Task[Any]] = WeakSet()
        self._redis: RedisServer | None = None
        self._cleanup = contextlib.ExitStack()
        self._directory = Path(self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="hubsuite-")))
        self._patch = patch = self._cleanup.enter_context(pytest.MonkeyPatch.context())
        # Hubs start jupyterhub-singleuser, which is beside this Python if a virtual environment is not activated.
        patch.setenv("PATH", sysconfig.get_path("scripts"), prepend=os.pathsep)
        (self._directory / "jupyter_server_config.json").write_text('{"ServerApp": {"allow_root": true}}')
        self._patch_hub(patch)
        self._patch_stop(patch)
        self._patch_checks(patch)
        self._patch_patience(patch)
        if self.host:
            self._patch_names(patch, self.host)

    def pytest_report_header(self) -> str:
        """Say what is tested, above the tests."""
        routing = f"host name below {self.host}" if self.host else "path"
        tls = ", with internal_ssl" if os.environ.get(_SSL_VARIABLE) else ""
        return f"hubsuite: {self.proxy_class}, routing by {routing}{tls}"

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """End the session's Redis, remove its files, and leave JupyterHub as it was."""
        self._cleanup.close()

    def pytest_collection_modifyitems(self, items: Iterable[pytest.Item]) -> None:
        """Skip the tests that are about configurable-http-proxy whatever the hub's proxy class is.

        And have those that wait for a server, for ten seconds by themselves, wait for it on a slow machine, too.
        """
        functions = [item for item in items if isinstance(item, pytest.Function)]
        for module in {item.module for item in functions}:
            if wait := getattr(module, "wait_for_spawner", None):
                # Its only default is its number of seconds.
                self._patch.setattr(wait, "__defaults__", (_START_SECONDS,))
        for item in functions:
            source = inspect.getsource(inspect.unwrap(item.function))
            for text, reason in _OTHER_PROXY.items():
                if text in source:
                    item.add_marker(pytest.mark.skip(reason=reason))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, None, None]:
        """Have a hub whose regular check of routes a test has switched off end one that has already begun.

        It would delete the test's routes, on a slow machine.
        """
        yield
        if fixturedef.argname == "disable_check_routes":
            for check in [check for check in self._checks if not check.done()]:
                check.get_loop().run_until_complete(asyncio.wait({check}))

    def configure(self, hub: MockHub) -> None:
        """Give a new hub the proxy class, with ports, files and a part of the store that no other hub has."""
        hub.proxy_class = self.proxy_class
        # Tests expect a server to have started or stopped when a request for that is answered; JupyterHub waits ten
        # seconds by itself.
        patience = dict.fromkeys(("slow_spawn_timeout", "slow_stop_timeout"), _START_SECONDS)
        hub.tornado_settings = {**hub.tornado_settings, **patience}
        name = f"hub{next(self._numbers):04}"
        directory = self._directory / name
        directory.mkdir()
        config = hub.config
        config.TraefikProxy.traefik_api_url = f"http://127.0.0.1:{free_port()}"
        config.TraefikProxy.static_config_file = str(directory / "traefik.toml")
        config.TraefikFileProviderProxy.dynamic_config_file = str(directory / "rules.toml")
        config.KVTraefikProxy.kv_traefik_prefix = f"{name}/traefik"
        config.KVTraefikProxy.kv_jupyterhub_prefix = f"{name}/jupyterhub"
        # JupyterHub gives up a server that has not answered for thirty seconds.
        config.Spawner.http_timeout = _START_SECONDS
        # Otherwise single-user servers refuse to start for root.
        config.MockSpawner.environment = {"JUPYTER_CONFIG_PATH": str(self._directory)}
        if hasattr(hub.proxy_class, "redis_url"):
            config.TraefikRedisProxy.redis_url = self.redis.url
        if self.config_file is not None:
            config.merge(PyFileConfigLoader(str(self.config_file.absolute())).load_config())

    @property
    def redis(self) -> RedisServer:
        """The session's Redis, started when it is first asked for."""
        if self._redis is None:
            self._redis = self._cleanup.enter_context(RedisServer())
        return self._redis

    def _patch_hub(self, patch: pytest.MonkeyPatch) -> None:
        original: Callable[..., None] = MockHub.__init__

        @functools.wraps(original)
        def init(hub: MockHub, *args: Any, **kwargs: Any) -> None:
            original(hub, *args, **kwargs)
            self.configure(hub)

        patch.setattr(MockHub, "__init__", init)
        for module in ("spawner", "tests.mocking"):
            patch.setattr(f"jupyterhub.{module}.random_port", free_port)

    def _patch_checks(self, patch: pytest.MonkeyPatch) -> None:
        original: Callable[..., Awaitable[None]] = MockHub.update_last_activity

        @functools.wraps(original)
        async def check(hub: MockHub) -> None:
            if task := asyncio.current_task():
                self._checks.add(task)
            await original(hub)

        patch.setattr(MockHub, "update_last_activity", check)

    @staticmethod
    def _patch_patience(patch: pytest.MonkeyPatch) -> None:
        """Have all that JupyterHub and its tests wait for take longer on a busy machine."""
        original: Callable[..., Awaitable[Any]] = utils.exponential_backoff

        @functools.wraps(original)
        async def patient(pass_func: Any, fail_message: str, *args: Any, timeout: float = 10, **kwargs: Any) -> Any:
            return await original(pass_func, fail_message, *args, timeout=timeout * slowness(), **kwargs)

        patch.setattr(utils, "exponential_backoff", patient)

    @staticmethod
    def _patch_stop(patch: pytest.MonkeyPatch) -> None:
        """Have JupyterHub 5 stop a module's hub in the event loop that it ran in, as JupyterHub 6 does.

        Else a proxy is stopped in another thread's loop, where nothing that it started can be awaited.
        """
        original: Callable[..., Any] = MockHub.stop
        if inspect.iscoroutinefunction(original):
            return

        @functools.wraps(original)
        def stop(hub: Any) -> None:
            loop = hub.io_loop and hub.io_loop.asyncio_loop
            if loop is None or loop.is_running():
                original(hub)
            elif not hub._stop_called:
                hub._stop_called = True
                loop.run_until_complete(hub.cleanup())
                hub.http_server.stop()
                hub.db_file.close()

        patch.setattr(MockHub, "stop", stop)

    @staticmethod
    def _patch_names(patch: pytest.MonkeyPatch, base: str) -> None:
        original = socket.getaddrinfo

        @functools.wraps(original)
        def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
            ours = isinstance(host, str) and f".{host}".endswith(f".{base}")
            return original("127.0.0.1" if ours else host, *args, **kwargs)

        patch.setattr(socket, "getaddrinfo", getaddrinfo)
