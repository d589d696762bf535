"""The set-ups that jupyterhub-traefik-proxy documents (0.1 to 2.1), as lines of configuration.

They are those of its pages on the file provider, Redis, etcd, Consul and HTTPS, with other values. ``$name`` stands for
what differs from machine to machine: ports, the store, credentials and a directory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

API: Final = """
c.TraefikProxy.traefik_api_username = "api_admin"
c.TraefikProxy.traefik_api_password = "api-secret"
"""

POINTS: Final = """
[api]

[entryPoints.http]
address = "127.0.0.1:$public"

[entryPoints.auth_api]
address = "localhost:$api"
"""

HTTPS: Final = """
c.JupyterHub.ssl_cert = "$cert"
c.JupyterHub.ssl_key = "$key"
"""


@dataclass(frozen=True)
class SetUp:
    """One documented way to run it.

    Args:
        store: the kind of store, as ``$store`` is the address of one: redis, etcd, consul (all with credentials), file.
        config: lines of jupyterhub_config.py.
        static: Traefik's static configuration, where the hub does not start it.
        dynamic: a file of the administrator's in Traefik's dynamic directory.
        former: the names in it that the log must say to be former ones.
    """

    store: str
    config: str
    static: str = ""
    dynamic: str = ""
    former: tuple[str, ...] = ()


#: By their rows in docs/how-to/from-jupyterhub-traefik-proxy.md.
SET_UPS: Final = {
    "File": SetUp(
        "file",
        """
c.JupyterHub.proxy_class = "traefik_file"
c.TraefikFileProviderProxy.static_config_file = "$dir/static.toml"
c.TraefikFileProviderProxy.dynamic_config_file = "$dir/dynamic.toml"
c.TraefikFileProviderProxy.traefik_log_level = "INFO"
"""
        + API.replace("TraefikProxy", "TraefikFileProviderProxy"),
    ),
    "File, YAML": SetUp(
        "file",
        """
c.JupyterHub.proxy_class = "traefik_file"
c.TraefikFileProviderProxy.static_config_file = "$dir/static.yaml"
c.TraefikFileProviderProxy.dynamic_config_file = "$dir/dynamic.yaml"
"""
        + API,
    ),
    "Redis": SetUp(
        "redis",
        """
c.JupyterHub.proxy_class = "traefik_redis"
c.TraefikRedisProxy.redis_url = "redis://$store"
c.TraefikRedisProxy.redis_username = "$user"
c.TraefikRedisProxy.redis_password = "$password"
c.TraefikRedisProxy.redis_client_kwargs = {"retry_on_timeout": True}
"""
        + API,
    ),
    "etcd": SetUp(
        "etcd",
        """
c.JupyterHub.proxy_class = "traefik_etcd"
c.TraefikEtcdProxy.etcd_url = "http://$store"
c.TraefikEtcdProxy.etcd_username = "$user"
c.TraefikEtcdProxy.etcd_password = "$password"
"""
        + API.replace("TraefikProxy", "TraefikEtcdProxy"),
    ),
    "Consul": SetUp(
        "consul",
        """
c.JupyterHub.proxy_class = "traefik_consul"
c.TraefikConsulProxy.consul_url = "http://$store"
c.TraefikConsulProxy.consul_password = "$password"
"""
        + API,
    ),
    "Prefixes of one's own": SetUp(
        "redis",
        """
c.JupyterHub.proxy_class = "traefik_redis"
c.TraefikRedisProxy.redis_url = "redis://$store"
c.TraefikRedisProxy.redis_username = "$user"
c.TraefikRedisProxy.redis_password = "$password"
c.TraefikRedisProxy.kv_traefik_prefix = "/mine/traefik/"
c.TraefikRedisProxy.kv_jupyterhub_prefix = "/mine/hub/"
"""
        + API,
    ),
    "All settings of Traefik": SetUp(
        "file",
        """
c.JupyterHub.proxy_class = "traefik_file"
c.TraefikFileProviderProxy.dynamic_config_file = "$dir/rules.toml"
c.TraefikProxy.traefik_api_url = "http://127.0.0.1:$api"
c.TraefikProxy.traefik_api_validate_cert = True
c.TraefikProxy.traefik_api_entrypoint = "for_the_api"
c.TraefikProxy.traefik_entrypoint = "for_users"
c.TraefikProxy.traefik_api_hashed_password = "$hashed"
c.TraefikProxy.traefik_log_level = "WARN"
c.TraefikProxy.traefik_env = {"TZ": "UTC"}
c.TraefikProxy.traefik_providers_throttle_duration = "0.1s"
c.TraefikProxy.concurrency = 5
c.TraefikProxy.check_route_timeout = 40
c.TraefikProxy.extra_static_config = {"accessLog": {"filePath": "$dir/access.log"}}
c.TraefikProxy.extra_dynamic_config = {
    "http": {"middlewares": {"mine": {"headers": {"customResponseHeaders": {"X-Mine": "yes"}}}}}
}
"""
        + API,
    ),
    "File, Traefik of one's own": SetUp(
        "file",
        """
c.TraefikFileProviderProxy.should_start = False
c.TraefikFileProviderProxy.traefik_api_username = "api_admin"
c.TraefikFileProviderProxy.traefik_api_password = "api-secret"
c.TraefikFileProviderProxy.dynamic_config_file = "$dir/dynamic/rules.toml"
c.JupyterHub.proxy_class = "traefik_file"
""",
        POINTS
        + """
[providers.file]
directory = "$dir/dynamic"
watch = true
""",
    ),
    "File, Traefik and its API's router of one's own": SetUp(
        "file",
        """
c.TraefikFileProviderProxy.should_start = False
c.TraefikFileProviderProxy.enable_setup_dynamic_config = False
c.TraefikFileProviderProxy.dynamic_config_file = "$dir/dynamic/rules.toml"
c.JupyterHub.proxy_class = "traefik_file"
"""
        + API,
        POINTS
        + """
[providers.file]
directory = "$dir/dynamic"
watch = true
""",
        """
[http.routers.my-api]
rule = "PathPrefix(`/api`)"
entryPoints = ["auth_api"]
middlewares = ["my-users"]
service = "api@internal"

[http.middlewares.my-users.basicAuth]
users = ["api_admin:$hashed"]
""",
    ),
    "Redis, Traefik of one's own": SetUp(
        "redis",
        """
c.TraefikRedisProxy.should_start = False
c.TraefikRedisProxy.traefik_api_password = "api-secret"
c.TraefikRedisProxy.traefik_api_username = "api_admin"
c.TraefikRedisProxy.redis_url = "redis://$store"
c.TraefikRedisProxy.redis_username = "$user"
c.TraefikRedisProxy.redis_password = "$password"
c.JupyterHub.proxy_class = "traefik_redis"
""",
        POINTS
        + """
[providers.redis]
username = "$user"
password = "$password"
endpoints = ["$store"]
rootKey = "traefik"
""",
    ),
    "etcd, Traefik of one's own": SetUp(
        "etcd",
        """
c.TraefikEtcdProxy.should_start = False
c.TraefikEtcdProxy.traefik_api_password = "api-secret"
c.TraefikEtcdProxy.traefik_api_username = "api_admin"
c.TraefikEtcdProxy.etcd_url = "http://$store"
c.TraefikEtcdProxy.etcd_username = "$user"
c.TraefikEtcdProxy.etcd_password = "$password"
c.JupyterHub.proxy_class = "traefik_etcd"
""",
        POINTS
        + """
[providers.etcd]
username = "$user"
password = "$password"
endpoints = ["$store"]
rootKey = "traefik"
""",
    ),
    "Consul, Traefik of one's own": SetUp(
        "consul",
        """
c.TraefikConsulProxy.should_start = False
c.TraefikConsulProxy.traefik_api_password = "api-secret"
c.TraefikConsulProxy.traefik_api_username = "api_admin"
c.TraefikConsulProxy.consul_url = "http://$store"
c.TraefikConsulProxy.consul_password = "$password"
c.JupyterHub.proxy_class = "traefik_consul"
""",
        POINTS
        + """
[providers.consul]
token = "$password"
endpoints = ["$store"]
rootKey = "traefik"
""",
    ),
    "HTTPS with a certificate of one's own": SetUp(
        "file",
        """
c.JupyterHub.proxy_class = "traefik_file"
c.TraefikFileProviderProxy.dynamic_config_file = "$dir/rules.toml"
"""
        + HTTPS
        + API,
    ),
    "The same, Traefik of one's own": SetUp(
        "redis",
        """
c.JupyterHub.proxy_class = "traefik_redis"
c.TraefikProxy.should_start = False
c.TraefikRedisProxy.redis_url = "redis://$store"
c.TraefikRedisProxy.redis_username = "$user"
c.TraefikRedisProxy.redis_password = "$password"
"""
        + HTTPS
        + API,
        """
[api]

[entryPoints.auth_api]
address = "localhost:$api"

[entrypoints.https]
address = "127.0.0.1:$public"

[entrypoints.https.http.tls]
options = "default"

[providers.redis]
username = "$user"
password = "$password"
endpoints = ["$store"]
rootKey = "traefik"
""",
    ),
    "`traefik_toml` (0.1 to 0.3)": SetUp(
        "file",
        """
c.JupyterHub.proxy_class = "traefik_toml"
c.TraefikTomlProxy.toml_static_config_file = "$dir/static.toml"
c.TraefikTomlProxy.toml_dynamic_config_file = "$dir/dynamic.toml"
"""
        + API.replace("TraefikProxy", "TraefikTomlProxy"),
        former=("TraefikTomlProxy", "c.TraefikTomlProxy", "static_config_file", "dynamic_config_file"),
    ),
    "etcd with `kv_url` (0.1 to 0.3)": SetUp(
        "etcd",
        """
c.JupyterHub.proxy_class = "traefik_etcd"
c.TraefikEtcdProxy.kv_url = "http://$store"
c.TraefikEtcdProxy.kv_username = "$user"
c.TraefikEtcdProxy.kv_password = "$password"
c.TraefikEtcdProxy.kv_traefik_prefix = "/mine/traefik/"
c.TraefikEtcdProxy.kv_jupyterhub_prefix = "/mine/hub/"
"""
        + API,
        former=("etcd_url", "etcd_username", "etcd_password"),
    ),
    "Consul with `kv_url` (0.1 to 0.3)": SetUp(
        "consul",
        """
c.JupyterHub.proxy_class = "traefik_consul"
c.TraefikConsulProxy.kv_url = "http://$store"
c.TraefikConsulProxy.kv_password = "$password"
c.TraefikConsulProxy.kv_traefik_prefix = "mine/traefik/"
c.TraefikConsulProxy.kv_jupyterhub_prefix = "mine/hub/"
"""
        + API,
        former=("consul_url", "consul_password"),
    ),
    "`c.TKvProxy`": SetUp(
        "redis",
        """
c.JupyterHub.proxy_class = "traefik_redis"
c.TraefikRedisProxy.redis_url = "redis://$store"
c.TraefikRedisProxy.redis_username = "$user"
c.TraefikRedisProxy.redis_password = "$password"
c.TKvProxy.kv_traefik_prefix = "mine/traefik"
c.TKvProxy.kv_jupyterhub_prefix = "mine/hub"
c.TKvProxy.kv_separator = "/"
"""
        + API,
        former=("c.KVTraefikProxy",),
    ),
}

_GENERATED: Final = """
c.TraefikProxy.traefik_entrypoint = "https"
c.TraefikProxy.extra_dynamic_config = {
    "tls": {
        "stores": {
            "default": {
                "defaultGeneratedCert": {"resolver": "letsencrypt", "domain": {"main": "$name"}},
            },
        },
    },
}
"""

#: The same for Let's Encrypt. Users come to the port `$public`, and to `$plain` without TLS.
LETS_ENCRYPT: Final = {
    "Let's Encrypt by settings": SetUp(
        "redis",
        _GENERATED
        + """
c.TraefikProxy.extra_static_config = {
    "entryPoints": {
        "http": {"address": "127.0.0.1:$plain"},
        "https": {"address": "127.0.0.1:$public", "http": {"tls": {"options": "default"}}},
    },
    "certificatesResolvers": {
        "letsencrypt": {
            "acme": {"email": "me@example.org", "storage": "$dir/acme.json", "caServer": "$acme", "tlsChallenge": {}},
        },
    },
}
""",
    ),
    "Let's Encrypt, Traefik of one's own": SetUp(
        "redis",
        "c.TraefikProxy.should_start = False" + _GENERATED + API,
        """
[api]

[entryPoints.auth_api]
address = "localhost:$api"

[entrypoints.httponly]
address = "127.0.0.1:$plain"
[entryPoints.httponly.http.redirections.entryPoint]
to = "https"
scheme = "https"

[entrypoints.https]
address = "127.0.0.1:$public"

[entrypoints.https.http.tls]
options = "default"

[certificatesResolvers.letsencrypt.acme]
email = "me@example.org"
storage = "$dir/acme.json"
caServer = "$acme"

[certificatesResolvers.letsencrypt.acme.tlsChallenge]

[providers.redis]
endpoints = ["$store"]
rootKey = "traefik"
""",
    ),
}
