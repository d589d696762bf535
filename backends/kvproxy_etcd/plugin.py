"""The entry point for kvproxy's plugin loader, the same as any third party's."""

from kvproxy import Backend, hookimpl


@hookimpl
def kvproxy_backends() -> list[Backend]:
    """etcd, version 3.4 and later."""
    return [Backend("etcd", ("etcd", "etcds"), "kvproxy_etcd.proxy:TraefikEtcdProxy", "etcd_url")]
