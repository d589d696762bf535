"""The entry point for kvproxy's plugin loader, the same as any third party's."""

from kvproxy import Backend, hookimpl


@hookimpl
def kvproxy_backends() -> list[Backend]:
    """A local file."""
    return [Backend("file", ("file",), "kvproxy_file.proxy:TraefikFileProviderProxy", "dynamic_config_file")]
