"""The demo's jupyterhub_config.py. `python -m kvproxy.demo` starts JupyterHub with it; see `kvproxy.demo`.

The first section is all that a hub of your own needs for Redis and Traefik; the rest makes a hub that
runs anywhere, on the loopback interface only, and keeps everything in one directory.
"""

import os
import sys

c = get_config()  # type: ignore[name-defined]


def setting(name: str) -> str:
    """Take a setting from the environment, so that no child process of the hub inherits it."""
    return os.environ.pop(f"KVPROXY_DEMO_{name}")


home = setting("DIRECTORY")

# Routes live in Redis, and Traefik serves them.
c.JupyterHub.proxy_class = "traefik_redis"
c.TraefikRedisProxy.redis_url = setting("REDIS_URL")
c.TraefikRedisProxy.redis_password = setting("REDIS_PASSWORD")
c.TraefikRedisProxy.redis_admit_traefik = True
c.TraefikRedisProxy.redis_traefik_username = "traefik"
c.TraefikRedisProxy.redis_traefik_password = setting("TRAEFIK_REDIS_PASSWORD")
c.TraefikProxy.traefik_api_url = f"http://127.0.0.1:{setting('API_PORT')}"
c.TraefikProxy.static_config_file = os.path.join(home, "traefik.toml")

# Addresses.
c.JupyterHub.bind_url = f"http://127.0.0.1:{setting('PORT')}"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{setting('HUB_PORT')}"
c.Spawner.ip = "127.0.0.1"

# Any user name with the same password.
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = setting("USER_PASSWORD")
c.Authenticator.allow_all = True
c.JupyterHub.allow_named_servers = True

# JupyterLab, run by the user that started the demo, with a home directory for each name.
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = os.path.join(home, "home", "{username}")
c.Spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
c.Spawner.args = ["--allow-root"] if os.geteuid() == 0 else []
c.Spawner.default_url = "/lab"
c.Spawner.http_timeout = 90
c.Spawner.start_timeout = 90

# State.
c.JupyterHub.db_url = f"sqlite:///{os.path.join(home, 'jupyterhub.sqlite')}"
c.JupyterHub.cookie_secret_file = os.path.join(home, "jupyterhub_cookie_secret")
