"""How Traefik is looked after, whatever ends or goes wrong; on a clock of our own, with a stand-in for Traefik."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from kvproxy._tasks import begin
from kvproxy.process import supervisor as module
from kvproxy.process.adoption import Identity, Launch, Start
from kvproxy.process.supervisor import TraefikSupervisor
from kvproxy.testing.clock import ClockLoop

LOG = logging.getLogger("kvproxy.test")
#: Seconds from a start of Traefik's until it has loaded its configuration, and until a poller has seen that.
LOADS, SEEN = 0.3, 2.0
#: Seconds for which it may hang.
PATIENCE = 5.0


class Impostor:
    """Stands for a :class:`kvproxy.process.child.ChildProcess`."""

    def __init__(self, number: int, now: float) -> None:
        self.identity = Identity(number, now)
        self.started = now
        self.ended: float | None = None
        self.trouble: Exception | None = None
        self.ending = "was killed by signal 9"

    @property
    def alive(self) -> bool:
        """See :attr:`kvproxy.process.child.ChildProcess.alive`."""
        if self.trouble is not None:
            raise self.trouble
        return self.ended is None

    def stop(self, grace: float) -> bool:
        """See :meth:`kvproxy.process.child.ChildProcess.stop`."""
        self.ended = self.started
        return True


class World:
    """A process that is looked after, all Traefiks that it has had, and whether they come to work."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "traefik.toml"
        launch = Launch("/bin/traefik", (3, 7, 15), {}, "configuration")
        self.process = TraefikSupervisor(self.file, launch, LOG, stuck_timeout=PATIENCE, outlives=True)
        self.had: list[Impostor] = []
        self.works = True
        self.problem = ""

    @property
    def now(self) -> float:
        """Seconds."""
        return asyncio.get_running_loop().time()

    def launch(self, *_: Any) -> Impostor:
        """Instead of a real start."""
        self.had.append(Impostor(1000 + len(self.had), self.now))
        return self.had[-1]

    def worked_since(self, moment: float) -> bool:
        """As a poller says."""
        return self.works and any(moment <= one.started and self.now > one.started + SEEN for one in self.had)

    async def kill(self) -> float:
        """Kill the Traefik that runs; seconds until another one has loaded its configuration."""
        killed, number = self.now, len(self.had)
        self.had[-1].ended = killed
        while len(self.had) == number:
            await asyncio.sleep(0.01)
        return self.now + LOADS - killed


Play = Callable[[Callable[[World], Awaitable[None]]], None]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Play:
    """Plays a scene with a Traefik that was started."""
    caplog.set_level(logging.INFO)

    def play(scene: Callable[[World], Awaitable[None]]) -> None:
        loop = ClockLoop()

        async def whole() -> None:
            world = World(tmp_path)
            monkeypatch.setattr(module.ChildProcess, "start", world.launch)

            async def ready() -> None:
                await asyncio.sleep(LOADS)

            await world.process.start(Start(), lambda: None, ready, world.worked_since, lambda: world.problem)
            await scene(world)
            await world.process.release()

        try:
            loop.run(whole())
        finally:
            loop.close_all()

    return play


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Lines logged as errors."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_traefik_that_has_worked_is_soon_back_however_often_it_dies(play: Play) -> None:
    """Twenty seconds after each start, as with a user who finds a way to kill it."""

    async def scene(world: World) -> None:
        for _ in range(10):
            await asyncio.sleep(20)
            assert await world.kill() <= 1.5

    play(scene)


def test_one_that_never_works_is_started_more_and_more_rarely(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    """As with a port that another program has: the log is not filled. When it works, all is forgotten."""

    async def scene(world: World) -> None:
        world.works = False
        waits = [await world.kill() for _ in range(8)]
        assert [round(wait - LOADS - 0.1) for wait in waits[2:]] == [2, 4, 8, 16, 30, 30]
        world.works = True
        await asyncio.sleep(5)
        assert await world.kill() <= 1.5
        assert await world.kill() <= 1.5

    play(scene)
    assert len(errors(caplog)) == 10


def test_one_that_ran_for_long_is_soon_back(play: Play) -> None:
    """Though it never loaded anything, as while the store is away."""

    async def scene(world: World) -> None:
        world.works = False
        for _ in range(5):
            await asyncio.sleep(60)
            assert await world.kill() <= 1.5

    play(scene)


def test_one_that_hangs_as_soon_as_it_has_started_is_restarted(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    """The start has seen it work, and nobody since; its successor, which never works, is left alone."""

    async def scene(world: World) -> None:
        world.works, world.problem = False, "It hangs."
        await asyncio.sleep(PATIENCE + 1)
        assert len(world.had) == 2
        await asyncio.sleep(10 * PATIENCE)
        assert len(world.had) == 2

    play(scene)
    assert errors(caplog) == ["Restarting Traefik (process 1000). It hangs."]


def test_no_error_ends_the_look_after_traefik(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    """A hub that has no file descriptor for two seconds; Traefik, which dies later, is started again."""

    async def scene(world: World) -> None:
        world.had[-1].trouble = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        await asyncio.sleep(2)
        assert len(world.had) == 1
        world.had[-1].trouble = None
        await asyncio.sleep(10)
        assert len(errors(caplog)) == 1
        assert "The check that Traefik runs fails. OSError: [Errno 24] Too many open files" in errors(caplog)[0]
        assert caplog.text.count("The check that Traefik runs works again.") == 1
        assert await world.kill() <= 1.5

    play(scene)


def test_a_start_that_fails_is_tried_again(
    play: Play, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With any error."""

    async def scene(world: World) -> None:
        def launch(*_: Any) -> Impostor:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        monkeypatch.setattr(module.ChildProcess, "start", launch)
        world.had[-1].ended = world.now
        await asyncio.sleep(5)
        monkeypatch.setattr(module.ChildProcess, "start", world.launch)
        await asyncio.sleep(5)
        assert len(world.had) == 2
        assert sum("Traefik cannot be started" in error for error in errors(caplog)) == 1

    play(scene)


def test_the_record_is_written_until_it_is_there(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    """Without it, the next hub finds its own port taken."""

    async def scene(world: World) -> None:
        record = world.file.with_name("traefik.toml.pid")
        written = record.read_text()
        record.unlink()
        await asyncio.sleep(1)
        assert record.read_text() == written
        record.unlink()
        record.mkdir()
        await world.kill()
        await asyncio.sleep(5)
        record.rmdir()
        await asyncio.sleep(1)
        assert json.loads(record.read_text())["pid"] == world.had[-1].identity.pid != json.loads(written)["pid"]

    play(scene)
    assert sum("traefik.toml.pid cannot be written" in error for error in errors(caplog)) <= 2


async def test_the_end_of_a_task_that_is_not_awaited_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """At once, with where it came from; that it is cancelled is no error."""

    async def fails() -> None:
        raise RuntimeError("of mine")

    tasks = [begin(fails(), "The task of the test", LOG), begin(asyncio.sleep(600), "Another task", LOG)]
    tasks[1].cancel()
    with contextlib.suppress(RuntimeError, asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)
    assert errors(caplog) == ["The task of the test has ended with an internal error of kvproxy. Restart the hub."]
    assert "RuntimeError: of mine" in caplog.text
