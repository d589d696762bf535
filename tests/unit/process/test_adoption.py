"""Decisions about a Traefik that an earlier hub has left: values in, values out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvproxy.errors import ConfigurationError
from kvproxy.process.adoption import (
    Adopt,
    Identity,
    Launch,
    Record,
    Replace,
    Running,
    Start,
    certificate_files,
    command,
    decide,
)
from kvproxy.process.launch import check_directory, file_digests, read_own, write_private

FILE = "/srv/hub/traefik.toml"
SECRET = "hard-to-guess"
LAUNCH = Launch("/bin/traefik", (3, 7, 15), {"REDIS_PASSWORD": SECRET}, f"password = {SECRET}", {"/ca.pem": "ab"})
TRAEFIK = Identity(50, 1000.25, "this boot")
EARLIER = Identity(40, 999.0, "this boot")
ME = Identity(60, 2000.0, "this boot")
RECORD = Record(TRAEFIK, EARLIER, LAUNCH.digests())
RUNS = Running(TRAEFIK, tuple(command("/bin/traefik", FILE)))


def decision(record: Record | None = RECORD, *processes: Running, **changes: Any) -> object:
    """With the Traefik of the record alone running, unless others are given."""
    running = {process.identity.pid: process for process in processes or (RUNS,)}
    return decide(record, running, ME, replace(LAUNCH, **changes), FILE)


def test_a_traefik_as_a_new_one_would_be_is_adopted() -> None:
    """Regardless of the fate of the hub that had started it."""
    assert decision() == Adopt(TRAEFIK)
    other = Running(replace(EARLIER, started=1800.0), ("sleep", "1"))
    assert decision(RECORD, RUNS, other) == Adopt(TRAEFIK)
    script = replace(RUNS, command=("python3", *RUNS.command))
    assert decision(RECORD, script) == Adopt(TRAEFIK)


def test_starts_are_compared_with_a_tolerance() -> None:
    """A time that is computed from two readings is not exact."""
    identity = replace(TRAEFIK, started=TRAEFIK.started + 0.01)
    assert decision(RECORD, replace(RUNS, identity=identity)) == Adopt(identity)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"configuration": "new"}, "its configuration changed"),
        ({"environment": {}}, "its environment changed"),
        ({"binary": "/opt/traefik"}, "its binary changed"),
        ({"version": (3, 7, 16)}, "its binary changed"),
        ({"files": {"/ca.pem": "cd"}}, "its certificates changed"),
        ({"binary": "/opt/traefik", "configuration": "new"}, "its binary and its configuration changed"),
    ],
)
def test_a_traefik_that_a_new_one_would_differ_from_is_replaced(changes: Mapping[str, Any], why: str) -> None:
    """The reason is told; what is in a setting is not."""
    assert decision(RECORD, **changes) == Replace(TRAEFIK, why)


@pytest.mark.parametrize("other", [{"started": 1500.0}, {"boot": "the boot before"}])
def test_an_unrecorded_traefik_of_the_same_file_is_replaced(other: Mapping[str, Any]) -> None:
    """Its start-up settings are not known."""
    identity = replace(TRAEFIK, **other)
    found = decision(RECORD, replace(RUNS, identity=identity))
    assert found == Replace(identity, "it is not the one that was recorded")


@pytest.mark.parametrize(
    "processes",
    [
        (Running(ME, ("jupyterhub",)),),
        (Running(TRAEFIK, ("sleep", "100")),),
        (Running(TRAEFIK, ()),),
        (Running(TRAEFIK, tuple(command("/bin/traefik", "/srv/other/traefik.toml"))),),
    ],
)
def test_another_process_of_that_id_is_left_alone(processes: tuple[Running, ...]) -> None:
    """An id is given to another process sooner or later."""
    assert decision(RECORD, *processes) == Start()


def test_without_a_record_traefik_is_started() -> None:
    """Also if something else runs."""
    assert decision(None, Running(TRAEFIK, ("sleep", "100"))) == Start()


@pytest.mark.parametrize("record", [None, replace(RECORD, traefik=replace(TRAEFIK, pid=49))])
def test_a_traefik_of_the_same_file_without_a_record_is_replaced(record: Record | None) -> None:
    """It has the ports. The record may have been lost, or be an older one as the disk was full."""
    assert decision(record) == Replace(TRAEFIK, "its start was not recorded")


def test_a_file_that_another_hub_uses_is_refused() -> None:
    """While that hub runs, whether or not its Traefik does; this hub itself is no other one."""
    hub = Running(EARLIER, ("jupyterhub",))
    for processes in [(RUNS, hub), (hub,)]:
        with pytest.raises(ConfigurationError, match=r"process 40.*another c\.TraefikProxy\.static_config_file"):
            decision(RECORD, *processes)
    mine = replace(RECORD, hub=ME)
    assert decision(mine, RUNS, Running(ME, ("jupyterhub",))) == Adopt(TRAEFIK)


def test_a_record_is_read_as_it_was_written_and_tells_no_secret() -> None:
    """A digest is no place for a password to be read in."""
    assert Record.parse(RECORD.text()) == RECORD
    assert SECRET not in RECORD.text()


@pytest.mark.parametrize("doing", ["other owner", "others may write", "link", "directory", "pipe", "nothing"])
def test_a_record_that_another_user_may_have_written_is_none(
    doing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a user with the right to write there could have the hub take over another process."""
    file, own = tmp_path / "traefik.toml.pid", tmp_path / "own"
    for path in (file, own):
        write_private(path, RECORD.text())
    assert Record.parse(read_own(file) or "") == RECORD
    if doing == "other owner":
        monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid + 1)
    elif doing == "others may write":
        file.chmod(0o602)
    else:
        file.unlink()
    if doing == "link":
        file.symlink_to(own)
    elif doing == "directory":
        file.mkdir()
    elif doing == "pipe":
        os.mkfifo(file)
    assert read_own(file) is None


def test_a_directory_that_others_may_write_to_is_no_place_for_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused where any file can be replaced, and named where that needs a file's owner, as in /tmp."""
    file = tmp_path / "traefik.toml"
    tmp_path.chmod(0o755)
    assert check_directory(file) == ""
    with pytest.raises(ConfigurationError, match=r"none cannot be used \(No such file or directory\); create it"):
        check_directory(tmp_path / "none" / "traefik.toml")
    assert not (tmp_path / "none").exists()
    tmp_path.chmod(0o1777)
    assert "Every user of this machine may write to" in check_directory(file)
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigurationError, match=r"may replace files in .*c\.TraefikProxy\.static_config_file"):
        check_directory(file)
    monkeypatch.setattr(Path, "stat", lambda self: os.stat_result((0o40755, 0, 0, 2, 4711, 0, 0, 0, 0, 0)))
    monkeypatch.setattr(os, "geteuid", lambda: 4712)
    assert "belongs to another user (uid 4711)" in check_directory(file)


@given(st.integers(0, len(RECORD.text()) - 2))
def test_half_a_record_is_none(length: int) -> None:
    """Wherever it was cut off."""
    assert Record.parse(RECORD.text()[:length]) is None


@pytest.mark.parametrize("text", ["4711\n", "null", "[]", '{"pid": 1}', '{"digests": 1}', '{"digests": {}, "hub": 1}'])
def test_invalid_record_decodes_to_none(text: str) -> None:
    """A file of another program."""
    assert Record.parse(text) is None


def test_files_that_traefik_reads_at_its_start_only(tmp_path: Path) -> None:
    """Their contents count, not just their names."""
    ca = tmp_path / "ca.pem"
    ca.write_text("one")
    configuration = {
        "providers": {"redis": {"endpoints": ["a:1"], "tls": {"ca": str(ca), "cert": "-----BEGIN\n", "key": "\0"}}},
        "log": {"filePath": str(tmp_path)},
    }
    names = certificate_files(configuration)
    assert names == [str(ca), "-----BEGIN\n", "\0"]
    first = file_digests(names)
    ca.write_text("two")
    assert list(first) == [str(ca)]
    assert file_digests(names) != first
