"""What kvproxy's plugin loader finds."""

from kvproxy import Backend, hookimpl


@hookimpl
def kvproxy_backends() -> list[Backend]:
    """ZooKeeper."""
    return [Backend("zookeeper", ("zookeeper",), "kvproxy_zookeeper.proxy:TraefikZooKeeperProxy", "zookeeper_url")]
