"""The hub of compose.yaml."""

import os

import jupyterhub

c = get_config()  # noqa: F821 - JupyterHub's own

# Routes are in Redis; hub and Traefiks ask the sentinels where the master is.
c.JupyterHub.proxy_class = "traefik_redis"
c.TraefikRedisProxy.redis_sentinels = ["sentinel-1:26379", "sentinel-2:26379", "sentinel-3:26379"]
c.TraefikRedisProxy.redis_url = "redis:///0"
c.TraefikRedisProxy.redis_username = "hub"
c.TraefikRedisProxy.redis_password = os.environ.pop("REDIS_PASSWORD")
c.TraefikRedisProxy.redis_sentinel_password = os.environ.pop("SENTINELS_PASSWORD")

# Both Traefiks run in containers of their own; a route is ready when both serve it.
c.TraefikProxy.should_start = False
# No other provider of Traefik has a default certificate; leave this out if you give it one.
c.TraefikProxy.placeholder_certificate = True
c.TraefikProxy.traefik_api_url = ["http://traefik-1:8099", "http://traefik-2:8099"]
# Two tiers of routes with compose.two-tiers.yaml.
if os.environ.get("ROUTE_TIERS") == "two":
    c.TraefikProxy.route_tiers = "two"
c.TraefikProxy.hot_traefik_api_url = ["http://traefik-1:8098", "http://traefik-2:8098"]

# Where the hub is for Traefik and for users' containers.
c.JupyterHub.hub_ip = "0.0.0.0"
c.JupyterHub.hub_connect_ip = "hub"

# A container for each user, which goes on when the hub is replaced.
c.JupyterHub.spawner_class = "docker"
# Of the hub's own version, as the two have to fit.
c.DockerSpawner.image = f"quay.io/jupyterhub/singleuser:{jupyterhub.__version__}"
# Users' files outlive their containers, which are removed when a server stops.
c.DockerSpawner.volumes = {"jupyterhub-{username}": "/home/jovyan"}
c.DockerSpawner.network_name = "jupyterhub"
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.extra_host_config = {"cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
c.DockerSpawner.remove = True
c.JupyterHub.cleanup_servers = False

# Anybody with the one password, to try it; put your own authenticator here.
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = os.environ.pop("TUTOR_PASSWORD")
c.Authenticator.allow_all = True

# State, in a volume.
c.JupyterHub.db_url = "sqlite:////srv/jupyterhub/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = "/srv/jupyterhub/cookie_secret"  # noqa: S105
