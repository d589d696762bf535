"""Users' servers of tests, on ports that no other test is given."""

from __future__ import annotations

from jupyterhub.spawner import SimpleLocalProcessSpawner

from kvproxy.testing.servers.ports import free_port


class HeldPortSpawner(SimpleLocalProcessSpawner):
    """Like JupyterHub's ``simple`` spawner, which takes any port that is free when it looks."""

    async def start(self) -> tuple[str, int]:
        """Start the server, see :meth:`jupyterhub.spawner.Spawner.start`."""
        if self.port == 0:
            self.port = free_port()
        place: tuple[str, int] = await super().start()  # type: ignore[no-untyped-call]
        return place
