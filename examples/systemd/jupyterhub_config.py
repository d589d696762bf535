"""JupyterHub beside a Traefik that systemd starts."""

c = get_config()  # noqa: F821 - JupyterHub's own

c.JupyterHub.proxy_class = "traefik_redis"
c.TraefikRedisProxy.redis_url = "redis://127.0.0.1:6379"
c.TraefikRedisProxy.redis_username = "hub"
c.TraefikRedisProxy.redis_password = "change-me"  # noqa: S105

# Traefik is a unit of its own, so that the hub can be restarted without anybody noticing.
c.TraefikProxy.should_start = False
# No other provider of Traefik has a default certificate; leave this out if you give it one.
c.TraefikProxy.placeholder_certificate = True
c.TraefikProxy.traefik_api_url = "http://127.0.0.1:8099"
c.JupyterHub.bind_url = "http://:80"

# The hub listens for Traefik and its users' servers only.
c.JupyterHub.hub_bind_url = "http://127.0.0.1:8081"

# Users' servers go on when the hub stops; the unit has KillMode=process for the same reason.
c.JupyterHub.cleanup_servers = False

c.Authenticator.allow_existing_users = True
c.Authenticator.admin_users = {"ada"}
