"""A real JupyterHub as a process of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final

import psutil

from kvproxy.testing.hub.fork_server import FORK_SERVER
from kvproxy.testing.servers.ports import free_port
from kvproxy.testing.servers.programs import Process, Program, ServerError, fetch
from kvproxy.testing.servers.tls import Certificates

#: Password of every user, of a dummy authenticator on the loopback interface.
USER_PASSWORD: Final = "any-user"  # noqa: S105

#: Marks, in the environment, whatever a hub started, directly or not.
_MARK: Final = "KVPROXY_TEST_HUB"

_START_SECONDS: Final = 90.0
_STOP_SECONDS: Final = 60.0
_SPAWN_SECONDS: Final = 120.0

_SERVICE: Final = "tester"


class HubProcess(Program):
    """JupyterHub with JupyterLab for any user with `USER_PASSWORD`, on 127.0.0.1 and free ports.

    directory: where all its files go, its users' homes included; it survives restarts and is not removed.
    settings: configuration by trait, on top of what makes a hub that runs anywhere, e.g.
        ``{"TraefikRedisProxy.redis_url": redis_server.url}``.
    config: Python code that is appended to the configuration file.
    base_url: path that the hub is served below.
    certificates: makes users come by HTTPS, with the server's certificate among them.

    Example::

        with HubProcess(tmp_path, {"TraefikRedisProxy.redis_url": server.url}) as hub:
            async with HubClient(hub, "ada") as ada:
                await ada.log_in()
    """

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, Any] | None = None,
        *,
        config: str = "",
        base_url: str = "/",
        certificates: Certificates | None = None,
    ):
        self.directory = directory
        self.port = free_port()
        self.api_port = free_port()
        self.base_url = base_url
        self.certificates = certificates
        self.token = secrets.token_hex(16)
        self.admin = "admin"
        self._log_start = 0
        # Not below `directory`: the kernels' sockets are in it, and a socket's path has at most 107 bytes.
        self._runtime = tempfile.TemporaryDirectory(prefix="hub-")
        self._config_file = directory / "jupyterhub_config.py"
        self._write(self._config_file, {**self._defaults(), **(settings or {})}, config)
        arguments = [sys.executable, "-m", "jupyterhub", "-f", str(self._config_file)]
        super().__init__(arguments, directory / "hub.log", {**os.environ, _MARK: str(directory)})

    @property
    def url(self) -> str:
        """The public URL, without a slash at the end."""
        return f"{self._scheme}://127.0.0.1:{self.port}{self.base_url}".rstrip("/")

    @property
    def trust(self) -> ssl.SSLContext | None:
        """The authority by which clients check its certificate; None without TLS."""
        return ssl.create_default_context(cafile=self.certificates.ca) if self.certificates else None

    @property
    def log_text(self) -> str:
        """The hub's log since its last start, its Traefik's lines included."""
        return self.log.read_bytes()[self._log_start :].decode(errors="replace") if self.log.exists() else ""

    @property
    def static_config_file(self) -> Path:
        """The file of Traefik's static configuration, unless the settings say otherwise."""
        return self.directory / "traefik.toml"

    def home(self, user: str) -> Path:
        """The home directory of a user, which is what JupyterLab shows."""
        return self.directory / "home" / user

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Change settings from the next start on."""
        with self._config_file.open("a", encoding="utf-8") as file:
            file.writelines(f"c.{name} = {value!r}\n" for name, value in settings.items())

    def start(self) -> None:
        """Start the hub and wait until it answers at its public URL.

        Raises ServerError with the last lines of its log if it ends or does not answer.
        """
        self.launch()
        self.wait_ready(self.answers, _START_SECONDS)

    def launch(self) -> None:
        """Start the hub and return at once."""
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        super().start()

    def _begin(self, log: BinaryIO) -> Process:
        with open(os.devnull, "rb") as nothing:
            files = [file.fileno() for file in (nothing, log, log)]
            return FORK_SERVER.start(self.arguments, self.environment, self.log.parent, files)

    def answers(self) -> bool:
        """True if the hub has done all it does at start, and answers at its public URL."""
        if "JupyterHub is now running" not in self.log_text:
            return False  # a signal would not yet be handled
        try:
            return fetch(f"{self.url}/hub/health", 2, self.trust)[0] == 200
        except OSError:
            return False

    def end(self, number: int = signal.SIGTERM, seconds: float = _STOP_SECONDS) -> int:
        """Ask the hub to stop by a signal and return its exit status. Its users' servers may live on."""
        if self._process is None:
            raise ServerError("The hub is not running.")
        self._process.send_signal(number)
        return self.wait(seconds)

    def wait(self, seconds: float = _STOP_SECONDS) -> int:
        """Wait until the hub has ended by itself and return its exit status.

        Raises TimeoutError if it still runs after that many seconds.
        """
        if self._process is None:
            raise ServerError("The hub is not running.")
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"The hub still runs after {seconds:g} s:\n{self.log_tail()}") from None

    def family(self) -> list[psutil.Process]:
        """The hub's own process and all that it, or an earlier start of it, has started and that still live."""
        own, mark = self._process and self._process.pid, str(self.directory)
        found = [process for process in psutil.process_iter() if process.pid == own or _marked(process, mark)]
        return [process for process in found if not _is_ending(process, mark)]

    def close(self) -> None:
        """Stop the hub, and whatever of its family outlives it."""
        self.stop(_STOP_SECONDS)
        family = self.family()
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(family, timeout=10)
        self._runtime.cleanup()

    def __enter__(self) -> HubProcess:
        try:
            self.start()
        except ServerError:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _defaults(self) -> dict[str, Any]:
        return {
            "JupyterHub.proxy_class": "traefik_redis",
            "JupyterHub.bind_url": f"{self._scheme}://127.0.0.1:{self.port}{self.base_url}",
            "JupyterHub.hub_bind_url": f"http://127.0.0.1:{free_port()}",
            "JupyterHub.db_url": f"sqlite:///{self.directory}/jupyterhub.sqlite",
            "JupyterHub.cookie_secret_file": f"{self.directory}/cookie_secret",
            "JupyterHub.authenticator_class": "dummy",
            "JupyterHub.allow_named_servers": True,
            "JupyterHub.services": [{"name": _SERVICE, "api_token": self.token}],
            "JupyterHub.load_roles": [{"name": "admin", "services": [_SERVICE]}],
            "TraefikProxy.static_config_file": str(self.static_config_file),
            "TraefikProxy.traefik_api_url": f"http://127.0.0.1:{self.api_port}",
            "DummyAuthenticator.password": USER_PASSWORD,
            "Authenticator.allow_all": True,
            "Authenticator.admin_users": {self.admin},
            **self._certificate_defaults(),
            **self._spawner_defaults(),
        }

    @property
    def _scheme(self) -> str:
        return "https" if self.certificates else "http"

    def _certificate_defaults(self) -> dict[str, Any]:
        if self.certificates is None:
            return {}
        return {
            "JupyterHub.ssl_key": str(self.certificates.server_key),
            "JupyterHub.ssl_cert": str(self.certificates.server_certificate),
        }

    def _spawner_defaults(self) -> dict[str, Any]:
        return {
            "JupyterHub.spawner_class": "kvproxy.testing.hub.spawner.HeldPortSpawner",
            "SimpleLocalProcessSpawner.home_dir_template": f"{self.directory}/home/{{username}}",
            "Spawner.ip": "127.0.0.1",
            "Spawner.cmd": [sys.executable, "-m", "jupyterhub.singleuser"],
            # Jupyter's ports for a kernel are free when it looks, and may be taken when the kernel binds them.
            "Spawner.args": ["--KernelManager.transport=ipc", *(["--allow-root"] if os.geteuid() == 0 else [])],
            "Spawner.default_url": "/lab",
            "Spawner.environment": {_MARK: str(self.directory), "JUPYTER_RUNTIME_DIR": self._runtime.name},
            "Spawner.start_timeout": int(_SPAWN_SECONDS),
            "Spawner.http_timeout": int(_SPAWN_SECONDS),
        }

    @staticmethod
    def _write(file: Path, settings: Mapping[str, Any], config: str) -> None:
        lines = ["c = get_config()", *(f"c.{name} = {value!r}" for name, value in settings.items()), config]
        file.touch(0o600)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _is_ending(process: psutil.Process, mark: str) -> bool:
    """True for a notebook's kernel whose server has ended: it looks for that every second, and then ends."""
    try:
        server = process.parent()
        orphaned = server is None or not _marked(server, mark)
        return orphaned and any("ipykernel" in argument for argument in process.cmdline())
    except psutil.Error:
        return False


def _marked(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(_MARK) == mark and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):
        return False
