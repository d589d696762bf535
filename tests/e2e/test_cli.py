"""The command line on a real store and a real Traefik, beside a proxy without a hub."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kvproxy.routing.names import ALONE
from kvproxy.testing.servers import RedisServer, TraefikServer, free_port, wait_until
from kvproxy_redis import TraefikRedisProxy

from .command import COMMAND, kvproxy, on_terminal, plain, watching, write_config
from .proxies import Client, Doors, Start, port_of

PASSWORD = "pass-of-the-api"
SECRET = "store-pass/word"


def settings_of(proxy: TraefikRedisProxy, **more: Any) -> dict[str, Any]:
    """The configuration of a hub with this proxy; without a hub, the API is asked as its user."""
    return {
        "JupyterHub.proxy_class": "traefik_redis",
        "JupyterHub.bind_url": proxy.public_url,
        "JupyterHub.hub_bind_url": f"http://127.0.0.1:{free_port()}",
        "TraefikProxy.should_start": proxy.should_start,
        "TraefikProxy.static_config_file": proxy.static_config_file,
        "TraefikProxy.traefik_api_url": proxy.traefik_api_url,
        "TraefikProxy.traefik_api_password": PASSWORD,
        "TraefikProxy.error_pages": False,  # the proxy of these tests has no hub that could have pages
        "TraefikRedisProxy.redis_url": proxy.redis_url,
        "TraefikRedisProxy.redis_password": proxy.redis_password,
        **more,
    }


def never_started(redis: RedisServer, **more: Any) -> dict[str, Any]:
    """The configuration of a hub on free ports that has not run yet."""
    return {
        "JupyterHub.proxy_class": "traefik_redis",
        "JupyterHub.bind_url": f"http://127.0.0.1:{free_port()}",
        "JupyterHub.hub_bind_url": f"http://127.0.0.1:{free_port()}",
        "TraefikProxy.traefik_api_url": f"http://127.0.0.1:{free_port()}",
        "TraefikRedisProxy.redis_url": redis.url,
        **more,
    }


@pytest.fixture
async def proxy(start_proxy: Start, tmp_path: Path) -> TraefikRedisProxy:
    """A running proxy with a route, which looks at nothing by itself, and its hub's configuration in the directory."""
    started = await start_proxy(traefik_api_password=PASSWORD, store_check_interval=0, check_route_timeout=60)
    await started.add_route("/user/ada/", "http://127.0.0.1:4001", {"user": "ada", "server_name": ""})
    write_config(tmp_path, settings_of(started))
    return started


def levels(printed: str) -> dict[str, set[str]]:
    """Findings by how bad they are."""
    found: dict[str, set[str]] = {}
    for line in printed.splitlines():
        found.setdefault(line[:8].strip(), set()).add(line[8:].partition(":")[0])
    return found


async def check(directory: Path, *arguments: str) -> Any:
    return await asyncio.to_thread(kvproxy, directory, "check", *arguments)


async def routes(directory: Path, *arguments: str) -> dict[str, Any]:
    done = await asyncio.to_thread(kvproxy, directory, "routes", *arguments)
    assert (done.status, done.err) == (0, "")
    document: dict[str, Any] = json.loads(done.out)
    return document


# -- check


async def test_check_of_what_works_says_ok_and_changes_nothing(
    proxy: TraefikRedisProxy, redis_server: RedisServer, tmp_path: Path
) -> None:
    """The cookie secret that is not there is the one warning, and is not made."""
    before = redis_server.command("INFO", "commandstats")
    done = await check(tmp_path)
    after = redis_server.command("INFO", "commandstats")
    assert done.err == ""
    assert "error" not in levels(done.out), done.out
    assert levels(done.out)["warning"] == {"cookie secret", "store"}  # the Redis of the tests keeps nothing on disk
    assert {"Traefik", "Traefik version", "entry points", "revision", "routes", "clock", "notifications"} <= (
        levels(done.out)["ok"]
    )
    assert done.status == 0
    assert (await check(tmp_path, "--strict")).status == 1
    # The hub that runs beside it renews its claim with SET.
    for write in ("mset", "hset", "del", "hdel", "exec", "publish"):
        count = [text.partition(f"cmdstat_{write}:calls=")[2].partition(",")[0] for text in map(str, (before, after))]
        assert count[0] == count[1], write
    assert not (tmp_path / "jupyterhub_cookie_secret").exists()


async def test_check_says_what_is_wrong_with_the_store(
    redis_factory: Callable[..., RedisServer], tmp_path: Path
) -> None:
    """Unreachable, wrong password, rights that are missing: one line, what to do, and no secret."""
    redis = redis_factory(
        password=SECRET, acl=["hub on >hub-pw ~traefik/* ~jupyterhub/* &* +@read +@connection +multi"]
    )
    settings = never_started(redis)

    async def said(**more: str) -> str:
        write_config(tmp_path, {**settings, **{f"TraefikRedisProxy.{name}": value for name, value in more.items()}})
        done = await check(tmp_path)
        assert done.status == 1
        assert SECRET[:-1] not in done.out
        [line] = [line for line in done.out.splitlines() if line.startswith("error")]
        return line

    assert "refuses the credentials; check redis_username and redis_password" in await said(redis_password=SECRET[:-1])
    assert "does not let the user 'hub' do what kvproxy needs" in await said(
        redis_username="hub", redis_password="hub-pw"
    )
    assert "cannot be reached" in await said(redis_url=f"redis://127.0.0.1:{free_port()}")
    write_config(tmp_path, {**settings, "TraefikRedisProxy.redis_url": "http://127.0.0.1"})
    done = await check(tmp_path)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(
        "Error: redis_url must begin with redis://, rediss:// (TLS) or unix://, not with http://."
    )


async def test_check_before_the_first_start(redis_server: RedisServer, tmp_path: Path) -> None:
    """Ports are free, or not; Traefik need not run yet."""
    port = free_port()
    more = {
        "JupyterHub.bind_url": f"http://127.0.0.1:{port}",
        "TraefikReidsProxy.redis_password": SECRET,
        "TraefikEtcdProxy.etcd_password": SECRET,
        "TKvProxy.kv_traefik_prefix": "traefik",
    }
    write_config(tmp_path, never_started(redis_server, **more))
    done = await check(tmp_path)
    assert done.status == 0, done.out
    assert "warning configuration: c.TraefikReidsProxy (redis_password) is not used: " in done.out
    assert "ok      configuration: c.TraefikEtcdProxy (etcd_password) is not used, as the hub uses" in done.out
    assert "warning configuration: c.TKvProxy is the former name of c.KVTraefikProxy; " in done.out
    assert SECRET not in done.out
    assert f"127.0.0.1:{port} is free (c.JupyterHub.bind_url)." in done.out
    assert "ok      Traefik API: It is not available until the hub starts Traefik." in done.out
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        done = await check(tmp_path)
    assert done.status == 1
    assert (
        f"Traefik cannot listen on 127.0.0.1:{port} (c.JupyterHub.bind_url): another program listens there" in done.out
    )


async def test_check_names_a_taken_port_that_is_not_needed_yet(redis_server: RedisServer, tmp_path: Path) -> None:
    """That of the second Traefik, before there are many routes."""
    ports = {name: f"http://127.0.0.1:{free_port()}" for name in ("hot_traefik_url", "hot_traefik_api_url")}
    auto = {"TraefikProxy.route_tiers": "auto", **{f"TraefikProxy.{name}": url for name, url in ports.items()}}
    settings = never_started(redis_server, **auto)
    write_config(tmp_path, settings)
    said = "(c.TraefikProxy.hot_traefik_url): another program listens there"
    assert said not in (await check(tmp_path)).out
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(ports["hot_traefik_url"].rpartition(":")[2])))
        taken.listen()
        done = await check(tmp_path)
        assert done.status == 0
        assert (
            f"warning ports: Traefik cannot listen on {ports['hot_traefik_url'].removeprefix('http://')} {said}"
            in done.out
        )
        write_config(tmp_path, {**settings, "TraefikProxy.route_tiers": "one"})
        assert said not in (await check(tmp_path)).out


async def test_check_finds_what_traefik_lacks(
    proxy: TraefikRedisProxy, redis_server: RedisServer, tmp_path: Path
) -> None:
    """A wrong entry point, a store that it does not follow any more, a wrong password."""
    write_config(tmp_path, settings_of(proxy, **{"TraefikProxy.traefik_entrypoint": "public"}))
    done = await check(tmp_path)
    assert "has no entry point 'public'" in done.out
    # A key that Traefik cannot decode keeps it from reading any.
    redis_server.command("SET", "traefik/http/routers/odd/nosuchfield", "x")
    redis_server.command(
        "SET", f"traefik/http/services/{ALONE.route('/user/ada/')}/loadBalancer/servers/0/url", "http://h"
    )
    write_config(tmp_path, settings_of(proxy))
    done = await check(tmp_path)
    assert done.status == 1
    assert "does not serve 1 route as the store has it. See which and why: kvproxy routes --differing" in done.out
    assert "'http/routers/odd/nosuchfield'" in done.out
    write_config(tmp_path, settings_of(proxy, **{"TraefikProxy.traefik_api_password": "wrong"}))
    done = await check(tmp_path)
    assert "refuses the credentials" in done.out
    assert "There is no cookie secret at" in done.out
    assert "wrong" not in done.out


async def test_check_sees_the_certificate_that_users_are_shown(
    start_proxy: Start, certificates: Any, tmp_path: Path
) -> None:
    """The one of the hub's configuration, and not for another name."""
    pair = {"ssl_cert": str(certificates.server_certificate), "ssl_key": str(certificates.server_key)}
    url = f"https://127.0.0.1:{free_port()}/"
    started = await start_proxy(traefik_api_password=PASSWORD, public_url=url, **pair)
    settings = settings_of(started, **{f"JupyterHub.{name}": value for name, value in pair.items()})
    write_config(tmp_path, settings)
    done = await check(tmp_path)
    assert "error" not in levels(done.out), done.out
    assert done.out.count(" is valid until ") == 2
    write_config(tmp_path, {**settings, "JupyterHub.public_url": "https://hub.example.org/"})
    assert "is not for hub.example.org, but for localhost, 127.0.0.1." in (await check(tmp_path)).out


async def test_check_tells_of_files_that_others_can_read(proxy: TraefikRedisProxy, tmp_path: Path) -> None:
    """The configuration file, if there is a password in it."""
    (tmp_path / "jupyterhub_config.py").chmod(0o644)
    done = await check(tmp_path)
    assert "jupyterhub_config.py holds a password and can be read by all users of this machine." in done.out
    assert "Run: chmod o-r jupyterhub_config.py" in done.out


async def test_check_is_coloured_on_a_terminal_only(proxy: TraefikRedisProxy, tmp_path: Path) -> None:
    """And wrapped there."""
    printed = await asyncio.to_thread(on_terminal, tmp_path, "check", width=80)
    assert "\x1b[32mok" in printed
    assert max(map(len, plain(printed).splitlines())) <= 80
    assert "\x1b" not in (await check(tmp_path)).out


# -- routes


async def test_routes_are_shown_with_the_traefiks_that_serve_them(
    proxy: TraefikRedisProxy, redis_server: RedisServer, tmp_path: Path
) -> None:
    """JSON in a pipe, a table on a terminal; what was changed by hand differs."""
    document = await routes(tmp_path)
    [route] = document["routes"]
    assert (route["routespec"], route["differs"]) == ("/user/ada/", False)
    assert document["replicas"][0]["revision"] == document["revision"]
    printed = await asyncio.to_thread(on_terminal, tmp_path, "routes")
    assert "\x1b[32mserved" in printed
    assert "1 route in the store, below 'traefik' and 'jupyterhub'; all served by Traefik." in plain(printed)

    redis_server.command("DEL", f"traefik/http/routers/{ALONE.route('/user/ada/')}/rule")
    [route] = (await routes(tmp_path, "--differing"))["routes"]
    assert "/rule otherwise" in route["store"]
    assert (await routes(tmp_path, "--prefix", "/user/b"))["routes"] == []
    printed = plain(await asyncio.to_thread(on_terminal, tmp_path, "routes", "--differing"))
    assert "1 differs." in printed


async def test_routes_are_listed_though_traefik_cannot_be_asked(proxy: TraefikRedisProxy, tmp_path: Path) -> None:
    """The store's routes are known all the same."""
    api = f"http://127.0.0.1:{free_port()}"
    write_config(tmp_path, settings_of(proxy, **{"TraefikProxy.traefik_api_url": api}))
    document = await routes(tmp_path)
    assert "cannot be reached" in document["replicas"][0]["problem"]
    assert document["routes"][0]["replicas"][api]["state"] == "unknown"


async def test_a_store_that_is_away_is_one_sentence(
    proxy: TraefikRedisProxy, redis_server: RedisServer, tmp_path: Path
) -> None:
    """On standard error, with the exit status 1."""
    redis_server.stop()
    done = await asyncio.to_thread(kvproxy, tmp_path, "routes")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("Error: Redis at redis://127.0.0.1:")
    assert len(done.err.splitlines()) == 1


async def test_watch_prints_each_change_in_a_pipe(proxy: TraefikRedisProxy, tmp_path: Path) -> None:
    """A line of JSON each, until Ctrl-C, which is no error."""
    out = tmp_path / "events"
    with out.open("wb") as file:
        command = [*COMMAND, "routes", "--watch", "--interval", "0.1"]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=file, preexec_fn=_as_on_a_terminal)
    try:

        def events() -> list[tuple[str, str]]:
            lines = [json.loads(line) for line in out.read_text().splitlines()]
            return [(line["event"], line.get("routespec") or "") for line in lines]

        await asyncio.to_thread(wait_until, lambda: len(events()) >= 2, "it has begun", 30)
        assert events() == [("replica", ""), ("found", "/user/ada/")]
        await proxy.add_route("/user/bob/", "http://127.0.0.1:4002", {})
        await asyncio.to_thread(wait_until, lambda: ("added", "/user/bob/") in events(), "bob is seen", 30)
        await proxy.delete_route("/user/ada/")
        await asyncio.to_thread(wait_until, lambda: ("removed", "/user/ada/") in events(), "ada is gone", 30)
        process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(process.wait, 30) == 0
    finally:
        process.kill()
        process.wait()


def _as_on_a_terminal() -> None:
    """A job of a shell that is not interactive has SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


async def test_watch_goes_on_while_the_store_is_away(
    proxy: TraefikRedisProxy, redis_server: RedisServer, tmp_path: Path
) -> None:
    """On a terminal, where it shows the present state."""
    with watching(tmp_path, "routes", "--watch", "--interval", "0.2") as so_far:

        async def shows(text: str) -> None:
            await asyncio.to_thread(wait_until, lambda: text in plain(so_far()), f"{text!r} is shown", 40)

        await shows("/user/ada/")
        redis_server.stop()
        await shows("cannot be reached")
        redis_server.start()
        await proxy.get_all_routes()  # which notices that Redis came back empty
        await proxy.add_route("/user/late/", "http://127.0.0.1:4009", {})
        await shows("/user/late/")


# -- static-config


@pytest.mark.parametrize("name", ["traefik.toml", "traefik.yaml"])
async def test_static_config_makes_a_traefik_serve_the_hubs_routes(
    name: str,
    redis_factory: Callable[..., RedisServer],
    make_proxy: Callable[..., TraefikRedisProxy],
    traefik_server: Callable[..., TraefikServer],
    doors: Doors,
    client_of: Callable[..., Client],
    tmp_path: Path,
) -> None:
    """As printed into a file, with a user of its own in a guarded Redis, and the API below a path."""
    redis = redis_factory(password=SECRET, acl=["traefik on >traefik-pw ~* &* +@read +@pubsub +@connection"])
    public, api = free_port(), free_port()
    proxy = make_proxy(
        should_start=False,
        redis_url=redis.url,
        redis_password=SECRET,
        public_url=f"http://127.0.0.1:{public}/",
        traefik_api_url=f"http://localhost:{api}/deep",
        traefik_api_password=PASSWORD,
    )
    login = {"redis_traefik_username": "traefik", "redis_traefik_password": "traefik-pw"}
    write_config(tmp_path, settings_of(proxy, **{f"TraefikRedisProxy.{key}": value for key, value in login.items()}))
    form = name.partition(".")[2]
    done = await asyncio.to_thread(kvproxy, tmp_path, "static-config", "--format", form)
    assert (done.status, done.err) == (0, "")
    assert "traefik-pw" in done.out
    assert SECRET not in done.out
    (tmp_path / name).write_text(done.out)
    traefik = traefik_server(tmp_path / name, [public, api])
    door = await doors.open()
    await proxy.add_route("/user/ada/", door, {})
    assert await client_of(proxy).ask("/user/ada/x") == (200, port_of(door))
    assert "error" not in levels((await check(tmp_path)).out)
    assert not (await routes(tmp_path))["routes"][0]["differs"]
    assert '"level":"error"' not in traefik.log_tail(100)
    assert " ERR " not in traefik.log_tail(100)


# -- the command itself


def test_bash_completes_the_command(tmp_path: Path) -> None:
    """With what `kvproxy completion bash` prints."""
    program = tmp_path / "kvproxy"
    program.write_text(f"#!{COMMAND[0]}\nfrom kvproxy.cli import main\nmain()\n")
    program.chmod(0o755)
    script = """
eval "$(kvproxy completion bash)"
ask() { COMPREPLY=(); _kvproxy_completion kvproxy; echo "${COMPREPLY[@]}"; }
COMP_WORDS=(kvproxy st); COMP_CWORD=1; ask
COMP_WORDS=(kvproxy routes --wa); COMP_CWORD=2; ask
"""
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["static-config", "--watch"], done.stderr


def test_a_closed_pipe_is_no_traceback(redis_server: RedisServer, tmp_path: Path) -> None:
    """As with `| head`."""
    write_config(
        tmp_path,
        {"JupyterHub.proxy_class": "traefik_redis", "TraefikRedisProxy.redis_url": redis_server.url},
    )
    script = f"{' '.join(COMMAND)} routes | head -c 1"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("{", "")


async def test_each_of_several_replicas_is_asked(
    redis_server: RedisServer,
    make_proxy: Callable[..., TraefikRedisProxy],
    traefik_server: Callable[..., TraefikServer],
    tmp_path: Path,
) -> None:
    """One that is away is told from one that serves the routes; check names it."""
    apis, started = [], []
    for number in range(2):
        public, api = free_port(), free_port()
        urls = {"public_url": f"http://127.0.0.1:{public}/", "traefik_api_url": f"http://127.0.0.1:{api}"}
        write_config(tmp_path, settings_of(make_proxy(should_start=False, **urls)))
        await asyncio.to_thread(kvproxy, tmp_path, "static-config", "--output", f"{number}.toml")
        started.append(traefik_server(tmp_path / f"{number}.toml", [public, api]))
        apis.append(urls["traefik_api_url"])
    proxy = make_proxy(should_start=False, traefik_api_url=apis, traefik_api_password=PASSWORD)
    write_config(tmp_path, settings_of(proxy))
    await proxy.add_route("/user/ada/", "http://127.0.0.1:4001", {})
    done = await check(tmp_path)
    assert "error" not in levels(done.out), done.out
    assert all(f"{api} serves 1 route, all that there are." in done.out for api in apis)
    started[1].stop()
    done = await check(tmp_path)
    [line] = [line for line in done.out.splitlines() if line.startswith("error")]
    assert line.startswith(f"error   Traefik API: Traefik's API at {apis[1]} cannot be reached")
    [route] = (await routes(tmp_path))["routes"]
    assert [route["replicas"][api]["state"] for api in apis] == ["served", "unknown"]
    printed = plain(await asyncio.to_thread(on_terminal, tmp_path, "routes"))
    assert f"[2] {apis[1]}: Traefik's API at {apis[1]} cannot be reached" in printed
