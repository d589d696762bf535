"""Traefik's log file is followed into the hub's log, whatever becomes of the file."""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvproxy.process import log_file as traefik_log
from kvproxy.process.log_file import TraefikLog

SECRET = "hard-to-guess"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where Traefik writes to."""
    return tmp_path / "traefik.toml.log"


@pytest.fixture
def followed(path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[TraefikLog]:
    """The file, followed."""
    caplog.set_level(logging.DEBUG)
    log = TraefikLog(path, logging.getLogger("kvproxy.test"), ["", SECRET])
    yield log
    log.close()


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    """Lines logged since the last time."""
    found = [(record.levelno, record.getMessage()) for record in caplog.records]
    caplog.clear()
    return found


def write(path: Path, text: str) -> None:
    """As Traefik does."""
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def test_whole_lines_come_with_their_levels_and_without_secrets(
    followed: TraefikLog, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A line that is being written is waited for, wherever it is cut."""
    followed.open_for_traefik().close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert followed.last_words == "It said nothing."
    write(path, '{"level":"warn","message":"careful"}\n{"level":"info","mess')
    followed.pass_on()
    assert told(caplog) == [(logging.WARNING, "Traefik: careful")]
    euro = "€".encode()
    with path.open("ab") as file:
        file.write(b'age":"5 ' + euro[:1])
    followed.pass_on()
    with path.open("ab") as file:
        file.write(euro[1:] + f' {SECRET}"}}\n'.encode())
    followed.pass_on()
    assert told(caplog) == [(logging.INFO, "Traefik: 5 € …")]
    assert followed.last_words == "Its last words: careful | 5 € …"


def test_the_last_error_of_the_provider_is_known_from_its_moment_on(path: Path) -> None:
    """Without secrets; that of another provider, and whatever else Traefik says, does not count."""
    now = 100.0
    log = TraefikLog(path, logging.getLogger("kvproxy.test"), [SECRET], provider="redis", clock=lambda: now)
    log.open_for_traefik().close()
    assert log.provider_error(0) == ""
    write(path, provider_line("Provider error, retrying in 1s", f"gone {SECRET}"))
    log.pass_on()
    assert (log.provider_error(100), log.provider_error(101)) == ("gone …", "")
    now = 200.0
    write(path, provider_line("Provider error, retrying in 1s", "other", "file"))
    write(path, provider_line("Server error", "no"))
    write(path, '["Provider error, retrying"]\n{"message":"Provider error, retrying"}\nProvider error, retrying\n')
    log.pass_on()
    assert log.provider_error(101) == ""
    write(path, provider_line("KV connection error, retrying in 1s", "KV store connection error: WRONGPASS"))
    log.pass_on()
    assert log.provider_error(200) == "WRONGPASS"
    log.close()


def provider_line(message: str, error: str, provider: str = "redis") -> str:
    """A line of Traefik's about a provider."""
    fields = {"level": "error", "providerName": provider, "error": error, "time": "…", "message": message}
    return json.dumps(fields) + "\n"


def test_lines_that_an_earlier_hub_logged_are_not_repeated(
    followed: TraefikLog, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is followed from where it ends."""
    write(path, '{"level":"info","message":"old"}\n')
    followed.follow_from_end()
    followed.pass_on()
    write(path, '{"level":"info","message":"new"}\n')
    followed.pass_on()
    assert told(caplog) == [(logging.INFO, "Traefik: new")]


def test_a_removed_file_is_reported_and_recreated_at_the_next_start(
    followed: TraefikLog, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of an earlier hub's Traefik, and of one's own."""
    followed.follow_from_end()
    followed.pass_on()
    ((level, message),) = told(caplog)
    assert (level, "is gone" in message) == (logging.WARNING, True)
    for text in ("one", "two"):
        with followed.open_for_traefik() as output:
            output.write(f'{{"level":"info","message":"{text}"}}\n'.encode())
        followed.pass_on()
        assert told(caplog) == [(logging.INFO, f"Traefik: {text}")]
        path.unlink()


def test_a_file_in_place_is_gone_on_with(followed: TraefikLog, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """When Traefik is started again, nothing is told twice."""
    followed.open_for_traefik().close()
    write(path, '{"level":"info","message":"one"}\n')
    followed.pass_on()
    followed.open_for_traefik().close()
    followed.pass_on()
    assert told(caplog) == [(logging.INFO, "Traefik: one")]


def test_a_file_that_has_grown_large_is_emptied(
    followed: TraefikLog, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By this hub, or by another program; later lines are logged."""
    monkeypatch.setattr(traefik_log, "_LIMIT", 50)
    followed.open_for_traefik().close()
    write(path, '{"level":"info","message":"' + "x" * 100 + '"}\n')
    followed.pass_on()
    assert path.stat().st_size == 0
    write(path, '{"level":"info","message":"one"}\n')
    followed.pass_on()
    os.truncate(path, 0)
    write(path, '{"level":"info","message":"2"}\n')
    followed.pass_on()
    assert [message for _, message in told(caplog)][1:] == ["Traefik: one", "Traefik: 2"]
