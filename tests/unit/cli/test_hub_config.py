"""jupyterhub_config.py is read as the hub reads it, and nothing is made or written on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvproxy.cli.check.findings import Level
from kvproxy.cli.check.hub import preparation
from kvproxy.cli.hub.config import Hub, load_hub
from kvproxy.cli.hub.liveness import hub_answers
from kvproxy.errors import ConfigurationError

SECRET = "0f" * 32
REDIS = 'c.JupyterHub.proxy_class = "traefik_redis"\n'


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the hub is started, without a secret in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JPY_COOKIE_SECRET", raising=False)
    return tmp_path


def load(text: str, *arguments: str, name: str = "jupyterhub_config.py") -> Hub:
    """The hub of a configuration file."""
    Path(name).write_text(text)
    return load_hub(name, arguments)


def refusal(text: str, *arguments: str, name: str = "jupyterhub_config.py") -> str:
    """The sentence about a configuration file that cannot be used."""
    with pytest.raises(ConfigurationError) as caught:
        load(text, *arguments, name=name)
    return str(caught.value)


def test_the_proxy_is_as_the_hub_makes_it() -> None:
    """Traits by any class of its ancestors, URL, certificate, host routing."""
    hub = load(
        REDIS
        + """
c.JupyterHub.bind_url = "http://127.0.0.1:8123/base/"
c.JupyterHub.subdomain_host = "https://hub.example.org"
c.TraefikProxy.traefik_api_url = "http://127.0.0.1:8124"
c.KVTraefikProxy.kv_traefik_prefix = "/mine/"
c.TraefikRedisProxy.redis_url = "redis://127.0.0.1:1/2"
"""
    )
    proxy = hub.proxy
    assert type(proxy).__name__ == "TraefikRedisProxy"
    assert (proxy.public_url, proxy.host_routing) == ("http://127.0.0.1:8123/base/", True)
    assert (proxy.traefik_api_url, proxy.traefik_root) == ("http://127.0.0.1:8124", "mine")
    assert proxy.traefik_provider()["redis"]["db"] == 2
    assert proxy.hub is hub.app.hub
    assert hub.warnings == ()


def test_a_certificate_makes_the_url_https() -> None:
    """As the hub's own validation does."""
    hub = load(REDIS + 'c.JupyterHub.ssl_cert = "cert.pem"\nc.JupyterHub.ssl_key = "key.pem"\n')
    assert hub.proxy.public_url == "https://:8000"
    assert hub.proxy.traefik_entrypoint == "https"


def test_files_may_load_others_and_read_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that a configuration file of the hub may do."""
    monkeypatch.setenv("MY_PREFIX", "from-environment")
    Path("more.py").write_text('import os\nc.KVTraefikProxy.kv_traefik_prefix = os.environ["MY_PREFIX"]\n')
    assert load("c = get_config()\n" + REDIS + 'load_subconfig("more.py")\n').proxy.traefik_root == "from-environment"


@pytest.mark.parametrize("level", ["", "debug", "WARN"])
def test_log_levels_of_traefik_are_taken_in_any_case(level: str) -> None:
    """jupyterhub-traefik-proxy's configurations have them in lower case too."""
    proxy = load(REDIS + f"c.TraefikProxy.traefik_log_level = {level!r}\n").proxy
    assert proxy.static_settings({}, (3, 7)).log_level.upper() == level.upper()


def test_arguments_of_the_hub_win_over_the_file() -> None:
    """As on its command line."""
    hub = load(REDIS + 'c.JupyterHub.bind_url = "http://127.0.0.1:1/"\n', "--JupyterHub.bind_url=http://127.0.0.1:2/")
    assert hub.proxy.public_url == "http://127.0.0.1:2/"


def test_any_backend_by_its_url() -> None:
    """``traefik_kv`` is made like the others."""
    hub = load('c.JupyterHub.proxy_class = "traefik_kv"\nc.KVTraefikProxy.store_url = "etcd://127.0.0.1:1"\n')
    assert hub.proxy.provider_name == "etcd"


def test_misspelt_settings_are_told_of() -> None:
    """Traitlets notices them, and the hub's log has them among many lines."""
    hub = load(REDIS + 'c.TraefikRedisProxy.redis_ulr = "redis://elsewhere"\n')
    [warning] = hub.warnings
    assert warning.startswith("Config option `redis_ulr` not recognized by `TraefikRedisProxy`.")
    assert "redis_url" in warning


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "ConfigurableHTTPProxy, which is not one of kvproxy's proxies; set c.JupyterHub.proxy_class to"),
        (
            "c.JupyterHub.proxy_class = 'traefik_reids'",
            "JupyterHub would refuse jupyterhub_config.py: it cannot import c.JupyterHub.proxy_class = 'traefik_reids'."
            ' Did you mean "traefik_redis"? kvproxy\'s are "traefik_consul", "traefik_etcd", "traefik_file", '
            '"traefik_kv" or "traefik_redis".',
        ),
        ("c.JupyterHub.proxy_class = 'nonsense'", "proxy_class = 'nonsense'. kvproxy's are \"traefik_consul\", "),
        (
            "c.JupyterHub.spawner_class = 'none'",
            "The 'spawner_class' trait of a JupyterHub instance must be a type, but",
        ),
        (
            "from jupyterhub_traefik_proxy.redis import TraefikRedisProxy",
            "jupyterhub_config.py:1 cannot be run: ModuleNotFoundError: No module named 'jupyterhub_traefik_proxy'. "
            'Remove the import and name the class as text: set c.JupyterHub.proxy_class to "traefik_consul", ',
        ),
        (
            "from jupyterhub.proxy import Proxy\nclass TraefikRedisProxy(Proxy): pass\n"
            "c.JupyterHub.proxy_class = TraefikRedisProxy",
            'not one of kvproxy\'s proxies; set c.JupyterHub.proxy_class = "kvproxy_redis.TraefikRedisProxy".',
        ),
        ("\nimport nosuch", "jupyterhub_config.py:2 cannot be run: ModuleNotFoundError: No module named 'nosuch'."),
        ("c.x = (\n", "jupyterhub_config.py:1 cannot be run: SyntaxError: '(' was never closed."),
        ("import sys\nsys.exit('no')", "jupyterhub_config.py:2 cannot be run: SystemExit: no."),
        (REDIS + "c.JupyterHub.bind_url = 8000", "The 'bind_url' trait of a JupyterHub instance expected a unicode"),
        (
            REDIS + "c.TraefikProxy.traefik_log_level = 'verbose'",
            "The 'traefik_log_level' trait of a TraefikRedisProxy",
        ),
        (
            REDIS + "c.TraefikProxy.traefik_entrypoint = 'web x'",
            "c.TraefikProxy.traefik_entrypoint = 'web x' cannot be",
        ),
        (
            REDIS + "c.TraefikProxy.traefik_api_entrypoint = 'a,b'",
            "c.TraefikProxy.traefik_api_entrypoint = 'a,b' cannot",
        ),
        (REDIS + "c.TraefikProxy.route_layout = 'bush'", "The 'route_layout' trait of a TraefikRedisProxy instance"),
        (REDIS + "c.TraefikProxy.traefik_api_url = 'ftp://x'", "traefik_api_url must look like http[s]://host:port/"),
    ],
)
def test_errors_of_the_hub_are_one_sentence(text: str, said: str) -> None:
    """With the file, and the line if there is one."""
    sentence = refusal(text)
    assert said in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")


def test_settings_of_another_proxy_are_named() -> None:
    """By the same function as in the hub's log."""
    proxy = load(
        REDIS + "c.TraefikReidsProxy.redis_password = 'hidden'\nc.TraefikEtcdProxy.etcd_url = 'hidden'\n"
    ).proxy
    assert list(map(str, proxy.setting_remarks())) == [
        "c.TraefikReidsProxy (redis_password) is not used: there is no proxy class of that name. Did you mean "
        "c.TraefikRedisProxy?",
        "c.TraefikEtcdProxy (etcd_url) is not used, as the hub uses TraefikRedisProxy.",
    ]


def test_wrong_secrets_are_not_repeated() -> None:
    """A password that is no text is still a password."""
    assert "31415926" not in refusal(REDIS + "c.TraefikRedisProxy.redis_password = 31415926")


def test_files_that_jupyterhub_would_pass_over_are_told_of() -> None:
    """It reads *.py only, and says nothing."""
    assert "the file's name must end in .py" in refusal(REDIS, name="hub.conf")


def test_arguments_that_the_hub_does_not_know_are_refused() -> None:
    """As the hub does."""
    assert refusal(REDIS, "nonsense") == "The hub does not take the argument 'nonsense'."


def test_the_cookie_secret_is_found_where_the_hub_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configuration, then environment, then file; the API's token is made of it."""
    Path("jupyterhub_cookie_secret").write_text(SECRET)
    Path("jupyterhub_cookie_secret").chmod(0o600)
    of_file = load(REDIS)
    assert of_file.secret_from == str(Path("jupyterhub_cookie_secret").absolute())
    monkeypatch.setenv("JPY_COOKIE_SECRET", "0a" * 32)
    of_environment = load(REDIS)
    assert of_environment.secret_from == "the variable JPY_COOKIE_SECRET"
    of_configuration = load(REDIS + f"c.JupyterHub.cookie_secret = bytes.fromhex('{SECRET}')")
    assert of_configuration.secret_from == "c.JupyterHub.cookie_secret"
    assert of_file.access == of_configuration.access
    assert of_file.access != of_environment.access
    assert of_file.access is not None


def test_without_a_cookie_secret_none_is_made(tmp_path) -> None:
    """It is said what cannot be asked, and where else one may be."""
    Path("elsewhere").mkdir()
    hub = load(REDIS, name="elsewhere/jupyterhub_config.py")
    assert hub.access is None
    assert f"There is no cookie secret at {tmp_path}/jupyterhub_cookie_secret" in hub.secret_problem
    Path("elsewhere/jupyterhub_cookie_secret").write_text(SECRET)
    hub = load(REDIS, name="elsewhere/jupyterhub_config.py")
    assert f"there is one at {tmp_path}/elsewhere/jupyterhub_cookie_secret" in hub.secret_problem
    assert not Path("jupyterhub_cookie_secret").exists()


def test_without_a_cookie_secret_the_api_is_asked_as_the_user() -> None:
    """Other users who may use it."""
    access = load(REDIS + 'c.TraefikProxy.traefik_api_password = "pw"').access
    assert access is not None
    assert (access.username, access.password) == ("jupyterhub", "pw")


def test_a_cookie_secret_that_the_hub_would_refuse_is_told_of() -> None:
    """Such as one that everybody can read."""
    Path("jupyterhub_cookie_secret").write_text(SECRET)
    Path("jupyterhub_cookie_secret").chmod(0o644)
    hub = load(REDIS)
    assert hub.access is None
    assert "cannot be used" in hub.secret_problem


def test_output_of_a_configuration_file_is_kept_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """As that of Zero to JupyterHub does, in front of JSON."""
    load("print('Loading values')\n" + REDIS)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "Loading values\n")


def test_nothing_is_left_behind(directory: Path) -> None:
    """No file, and no instance that the next one would find."""
    load(REDIS)
    assert [path.name for path in directory.iterdir()] == ["jupyterhub_config.py"]
    from jupyterhub.app import JupyterHub

    assert not JupyterHub.initialized()


async def test_a_hub_that_is_not_there_does_not_answer() -> None:
    """Nor does one on a socket that cannot be asked."""
    assert not await hub_answers(load(REDIS + 'c.JupyterHub.hub_bind_url = "http://127.0.0.1:1"'))


async def test_a_directory_that_others_may_write_to_is_named(directory: Path) -> None:
    """Where the hub would not start, as an error; with a Traefik of one's own, not at all."""
    own, external = load(REDIS), load(REDIS + "c.TraefikProxy.should_start = False\n")
    said = {}
    for mode in (0o755, 0o1777, 0o777):
        directory.chmod(mode)
        said[mode] = [finding.level for finding in (await preparation(own))[0]]
        assert (await preparation(external))[0] == []
    assert said == {0o755: [], 0o1777: [Level.WARNING], 0o777: [Level.ERROR]}


async def test_check_refuses_a_dynamic_configuration_as_the_hub_does() -> None:
    """In the same words; a sound one is no finding."""
    sound = load(REDIS + 'c.TraefikProxy.extra_dynamic_config = {"http": {"middlewares": {"zip": {"compress": {}}}}}\n')
    assert (await preparation(sound))[0] == []
    wrong = load(REDIS + 'c.TraefikProxy.extra_dynamic_config = {"http": {"middleware": {}}}\n')
    (finding,), prepared = await preparation(wrong)
    assert prepared is None
    assert (finding.level, finding.about) == (Level.ERROR, "configuration")
    with pytest.raises(ConfigurationError) as refused:
        wrong.proxy.dynamic_config()
    assert finding.said == str(refused.value)
    assert "http.middleware, which Traefik does not know there (is middlewares meant?)" in finding.said
