"""The entry point for kvproxy's plugin loader, the same as any third party's."""

from kvproxy import Backend, hookimpl


@hookimpl
def kvproxy_backends() -> list[Backend]:
    """Redis and Valkey."""
    return [Backend("redis", ("redis", "rediss", "unix"), "kvproxy_redis.proxy:TraefikRedisProxy", "redis_url")]
