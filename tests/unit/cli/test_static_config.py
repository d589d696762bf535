"""The static configuration for a Traefik of one's own."""

from __future__ import annotations

import stat
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from kvproxy.cli.main import group
from kvproxy.cli.static_config.render import MASK, external_configuration, files_in, masked, parse_traefik_version
from kvproxy.errors import ConfigurationError
from kvproxy.traefik.static_config import StaticSettings

try:
    import tomllib
except ImportError:
    import tomli as tomllib

SETTINGS = StaticSettings(
    public_url="http://:8000/",
    api_url="http://localhost:8099",
    entry_point="http",
    api_entry_point="auth_api",
    provider={"redis": {"endpoints": ["redis:6379"], "rootKey": "traefik", "password": "pw"}},
)
CONFIG = """
c.JupyterHub.proxy_class = "traefik_redis"
c.JupyterHub.bind_url = "http://127.0.0.1:8000/base/"
c.TraefikProxy.should_start = False
c.TraefikRedisProxy.redis_url = "redis://redis:6379/3"
c.TraefikRedisProxy.redis_password = "hub-pw"
c.TraefikRedisProxy.redis_traefik_username = "traefik"
c.TraefikRedisProxy.redis_traefik_password = "traefik-pw"
c.TraefikProxy.extra_static_config = {
    "log": {"format": "json"},
    "certificatesResolvers": {"le": {"acme": {"email": "a@example.org", "storage": "/srv/acme.json"}}},
}
"""


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the hub's configuration is, and no Traefik."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("kvproxy.process.launch.find_traefik", _no_traefik)
    Path("jupyterhub_config.py").write_text(CONFIG)
    return tmp_path


def _no_traefik() -> str:
    from kvproxy.errors import TraefikError

    raise TraefikError("There is none.")


def run(*arguments: str) -> Result:
    """The command in a pipe."""
    return CliRunner().invoke(group, ["static-config", *arguments])


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvproxy.cli.console.on_terminal", lambda *_: True)


@pytest.mark.parametrize(
    ("place", "life_cycle", "api"),
    [
        ("compose", {"requestAcceptGraceTimeout": "5s", "graceTimeOut": "60s"}, "api-here:8099"),
        ("kubernetes", {"graceTimeOut": "60s"}, "127.0.0.1:8099"),
        ("systemd", {"graceTimeOut": "2s"}, "127.0.0.1:8099"),
    ],
)
def test_where_it_is_for_says_how_it_ends_and_where_its_api_is(
    place: str, life_cycle: dict[str, str], api: str
) -> None:
    """All else is as without; the hub's own extra configuration has the last word, as ever."""
    usual = tomllib.loads(run().stdout)
    placed = tomllib.loads(run("--for", place).stdout)
    assert placed["entryPoints"]["http"]["transport"].pop("lifeCycle") == life_cycle
    assert placed["entryPoints"]["auth_api"]["address"] == api
    placed["entryPoints"]["auth_api"] = usual["entryPoints"]["auth_api"]
    assert placed == usual


def test_the_file_is_what_the_hub_would_give_its_own() -> None:
    """Entry points, API, provider as Traefik's own user, extra configuration over it."""
    said = run()
    assert said.exit_code == 0, said.output
    assert tomllib.loads(said.stdout) == {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "api": {},
        "log": {"format": "json"},
        "ping": {"manualRouting": True},
        "entryPoints": {
            "http": {
                "address": "127.0.0.1:8000",
                "asDefault": True,
                "http": {"encodeQuerySemicolons": True, "sanitizePath": False},
                "transport": {"respondingTimeouts": {"readTimeout": "3600s"}},
            },
            "auth_api": {"address": "127.0.0.1:8099"},
        },
        "providers": {
            "providersThrottleDuration": "0s",
            "redis": {
                "endpoints": ["redis:6379"],
                "rootKey": "traefik",
                "username": "traefik",
                "password": "traefik-pw",
                "db": 3,
            },
        },
        "metrics": {
            "prometheus": {
                "addEntryPointsLabels": False,
                "addServicesLabels": True,
                "buckets": [1.0],
                "manualRouting": True,
            }
        },
        "certificatesResolvers": {"le": {"acme": {"email": "a@example.org", "storage": "/srv/acme.json"}}},
    }
    assert "# These files must be there where Traefik runs: /srv/acme.json." in said.stdout
    assert said.stderr == ""


def test_yaml_says_the_same() -> None:
    """As people write it."""
    said = run("--format", "yaml").stdout
    assert yaml.safe_load(said) == tomllib.loads(run().stdout)
    assert "\n  redis:\n    endpoints:\n" in said


def test_secrets_are_not_for_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for files and pipes, where the configuration has to work."""
    assert "traefik-pw" in run().stdout
    assert "traefik-pw" not in run("--without-secrets").stdout
    on_a_terminal(monkeypatch)
    said = run()
    assert "traefik-pw" not in said.output
    assert tomllib.loads(said.stdout)["providers"]["redis"]["password"] == MASK
    assert "`--output FILE`" in said.stdout
    assert "traefik-pw" in run("--with-secrets").stdout


def test_a_file_is_private_and_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the command is given at a terminal. No folder is made by a typo, and no file replaced silently."""
    on_a_terminal(monkeypatch)
    said = run("--output", "made/traefik.yml")
    assert said.exit_code == 1
    assert said.stderr == "Error: made/traefik.yml cannot be written (No such file or directory).\n"
    assert not Path("made").exists()
    Path("made").mkdir()
    said = run("--output", "made/traefik.yml")
    assert said.exit_code == 0, said.output
    assert (said.stdout, "replaced" in said.stderr) == ("", False)
    assert "which only you can read; what was there is replaced." in run("--output", "made/traefik.yml").stderr
    file = Path("made/traefik.yml")
    assert yaml.safe_load(file.read_text())["providers"]["redis"]["password"] == "traefik-pw"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_traefik_would_not_read_is_refused() -> None:
    """It goes by the ending."""
    said = run("--output", "traefik.json")
    assert said.exit_code == 2
    assert "use .toml or .yaml" in said.output


def test_a_file_that_cannot_be_written_is_one_sentence() -> None:
    """Such as one below a file."""
    said = run("--output", "jupyterhub_config.py/traefik.toml")
    assert said.exit_code == 1
    assert said.stderr.startswith("Error: jupyterhub_config.py/traefik.toml cannot be written (")


def test_a_hub_that_starts_its_own_is_told_so() -> None:
    """The configuration is printed all the same."""
    Path("jupyterhub_config.py").write_text(CONFIG.replace("should_start = False", "should_start = True"))
    said = run()
    assert said.exit_code == 0
    assert "set c.TraefikProxy.should_start = False" in said.stderr
    assert tomllib.loads(said.stdout)["providers"]["redis"]["db"] == 3


def test_peculiarities_of_a_version() -> None:
    """Some refuse %2F unless they are told not to; one without parents cannot have a tree."""
    assert "encodedCharacters" in tomllib.loads(run("--traefik-version", "3.6.5").stdout)["entryPoints"]["http"]["http"]
    newest = tomllib.loads(run("--traefik-version", "v3.7").stdout)["entryPoints"]["http"]["http"]
    assert newest == {"encodeQuerySemicolons": True, "sanitizePath": False}
    assert "sanitizePath" not in tomllib.loads(run("--traefik-version", "3.3.5").stdout)["entryPoints"]["http"]["http"]
    Path("jupyterhub_config.py").write_text(CONFIG + 'c.TraefikProxy.route_layout = "tree"\n')
    said = run("--traefik-version", "3.5.0")
    assert said.exit_code == 2
    assert "needs Traefik 3.6" in said.output


def test_versions_are_as_people_write_them() -> None:
    """And refused where they are none."""
    assert [parse_traefik_version(text) for text in ("3", "v3.6", "3.7.1", "3.7.0-rc.1")] == (
        [(3,), (3, 6), (3, 7, 1), (3, 7, 0)]
    )
    for text in ("latest", "2.11.0", "3.x", ""):
        with pytest.raises(ConfigurationError):
            parse_traefik_version(text)


@pytest.mark.parametrize(
    ("public", "api", "listens"),
    [
        ("http://:8000/", "http://localhost:8099", [":8000", "localhost:8099"]),
        ("https://hub.example.org/", "http://traefik:8099/deep", [":443", ":8099"]),
        ("http://[::1]:8000/", "http://10.0.0.7:8099", ["[::1]:8000", "10.0.0.7:8099"]),
    ],
)
def test_it_listens_where_it_is_reached(public: str, api: str, listens: list[str]) -> None:
    """A name of the network is nothing to listen on: in a container it may be any machine's."""
    settings = StaticSettings(**{**vars(SETTINGS), "public_url": public, "api_url": api})
    made = external_configuration(settings)
    assert [point["address"] for point in made["entryPoints"].values()] == listens
    assert made["api"] == ({"basePath": "/deep"} if "deep" in api else {})


def test_stopping_and_logging_are_traefiks_own_business() -> None:
    """The hub's own Traefik is hurried, and logs for the hub; extra configuration still wins."""
    made = external_configuration(SETTINGS)
    assert "log" not in made
    assert "lifeCycle" not in made["entryPoints"]["http"]["transport"]
    extra = {"entryPoints": {"http": {"transport": {"lifeCycle": {"graceTimeOut": "9s"}}}}}
    made = external_configuration(StaticSettings(**{**vars(SETTINGS), "extra": extra, "log_level": "debug"}))
    assert made["log"] == {"level": "DEBUG"}
    assert made["entryPoints"]["http"]["transport"]["lifeCycle"] == {"graceTimeOut": "9s"}


def test_masks_cover_secrets_wherever_they_are() -> None:
    """Those of the store, and what is called so."""
    configuration = {"a": ["x pw y", "fine"], "b": {"apiToken": "t", "url": "u"}, "n": 1, "password": ""}
    assert masked(configuration, ["pw"]) == (
        {"a": [MASK, "fine"], "b": {"apiToken": MASK, "url": "u"}, "n": 1, "password": ""}
    )


def test_a_password_that_is_not_set_masks_nothing() -> None:
    """A backend may name it all the same."""
    assert masked({"a": "fine", "b": ["x pw y"]}, ["", "pw"]) == {"a": "fine", "b": [MASK]}


def test_the_second_traefik_of_two_tiers_reads_other_routes_and_keeps_all_headers(directory: Path) -> None:
    """On loopback; its API is where the hub looks for it, and its login is the first one's."""
    config = directory / "jupyterhub_config.py"
    two = 'c.TraefikProxy.route_tiers = "two"\nc.TraefikProxy.hot_traefik_api_url = "http://traefik-api:8098"\n'
    config.write_text(CONFIG + two)
    made = tomllib.loads(run("--hot", "--for", "kubernetes").stdout)
    point = made["entryPoints"]["hot"]
    assert point["address"] == "127.0.0.1:8097"
    assert point["forwardedHeaders"] == {"trustedIPs": ["127.0.0.1/32", "::1/128"], "notAppendXForwardedFor": True}
    assert point["transport"]["lifeCycle"] == {"graceTimeOut": "60s"}
    assert made["entryPoints"]["auth_api"]["address"] == ":8098"
    place = {"endpoints": ["redis:6379"], "db": 4, "rootKey": "hot-traefik"}
    assert made["providers"]["redis"] == {**place, "username": "traefik", "password": "traefik-pw"}
    assert "certificatesResolvers" not in made


@pytest.mark.parametrize(
    ("more", "arguments", "said"),
    [
        ("", (), "The hub has one tier of routes"),
        ('c.TraefikProxy.route_tiers = "two"\n', (), "set c.TraefikProxy.hot_traefik_api_url"),
        (
            'c.TraefikProxy.route_tiers = "two"\nc.TraefikProxy.hot_traefik_api_url = "http://h:1"\n',
            ("--traefik-version", "3.6.9"),
            "Traefik 3.6.9 is too old",
        ),
    ],
)
def test_a_second_traefik_that_cannot_be_is_refused(
    more: str, arguments: tuple[str, ...], said: str, directory: Path
) -> None:
    """With the setting that would make it possible."""
    (directory / "jupyterhub_config.py").write_text(CONFIG + more)
    ran = run("--hot", *arguments)
    assert ran.exit_code != 0
    assert said in ran.output


def test_files_are_found_at_any_depth() -> None:
    """They must be there where Traefik runs."""
    assert files_in({"b": [{"cert": "/etc/b.pem"}], "a": "/etc/a.pem", "c": "relative", "n": 1}) == (
        ["/etc/a.pem", "/etc/b.pem"]
    )


def test_variables_that_traefik_needs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Consul's basic authentication has no place in the file."""
    Path("jupyterhub_config.py").write_text(
        """
c.JupyterHub.proxy_class = "traefik_consul"
c.TraefikProxy.should_start = False
c.TraefikConsulProxy.consul_username = "u"
c.TraefikConsulProxy.consul_password = "consul-pw"
"""
    )
    assert "# Traefik needs the variable CONSUL_HTTP_AUTH=u:consul-pw." in run().stdout
    assert "# These variables must not be set for Traefik: " in run().stdout
    on_a_terminal(monkeypatch)
    assert "consul-pw" not in run().output


@pytest.mark.parametrize(
    ("mode", "arguments", "warned"),
    [(0o644, (), True), (0o640, (), False), (0o600, (), False), (0o644, ("--without-secrets",), False)],
)
def test_a_file_of_the_shells_that_all_can_read_is_warned_of(
    mode: int, arguments: tuple[str, ...], warned: bool, directory: Path
) -> None:
    """As `> traefik.toml` makes it; only if the password goes into it."""
    warnings = into_a_file(directory, mode, *arguments)
    assert ("Warning: standard output is a file that all users of this machine can read" in warnings) == warned
    assert ("--output FILE" in warnings) == warned
    assert ("traefik-pw" in (directory / "traefik.toml").read_text()) == (not arguments)


def test_without_a_password_any_file_will_do(directory: Path) -> None:
    """There is nothing to hide."""
    (directory / "jupyterhub_config.py").write_text('c.JupyterHub.proxy_class = "traefik_redis"\n')
    assert "Warning" not in into_a_file(directory, 0o644)


def into_a_file(directory: Path, mode: int, *arguments: str) -> str:
    """The warnings of the command, whose output a shell sends to a file of this mode."""
    (file := directory / "traefik.toml").touch()
    file.chmod(mode)
    with file.open("w") as output, redirect_stdout(output), redirect_stderr(StringIO()) as warnings:
        group(["static-config", "--traefik-version", "3.7.1", *arguments], standalone_mode=False)
    return warnings.getvalue()
