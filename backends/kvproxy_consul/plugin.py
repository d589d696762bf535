"""The entry point for kvproxy's plugin loader, the same as any third party's."""

from kvproxy import Backend, hookimpl


@hookimpl
def kvproxy_backends() -> list[Backend]:
    """Consul's key-value store."""
    return [Backend("consul", ("consul", "consuls"), "kvproxy_consul.proxy:TraefikConsulProxy", "consul_url")]
