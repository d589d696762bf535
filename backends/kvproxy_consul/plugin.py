"""What kvproxy's plugin loader finds: the same as any third party's plugin."""

from kvproxy import Backend, hookimpl


@hookimpl
def kvproxy_backends() -> list[Backend]:
    """Consul's key-value store."""
    return [Backend("consul", ("consul", "consuls"), "kvproxy_consul.proxy:TraefikConsulProxy", "consul_url")]
