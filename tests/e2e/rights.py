"""The rights that the documentation says are enough, as the tests give them to the hub and to Traefik."""

from __future__ import annotations

import re
from pathlib import Path

_DOCS = Path(__file__).parents[2] / "docs/how-to"
_GRANTS = re.findall(
    r"^etcdctl role grant-permission (\w+) --prefix=true (\w+) (\S+)$", (_DOCS / "etcd.md").read_text(), re.MULTILINE
)


def etcd_rights(role: str) -> dict[str, str]:
    """The prefixes that a role may use in etcd, as `EtcdServer.add_user` takes them."""
    return {prefix: kind.upper() for name, kind, prefix in _GRANTS if name == role}


#: The policies of Consul, the hub's and Traefik's.
CONSUL_HUB, CONSUL_TRAEFIK = re.findall(r"```hcl\n(.*?)```", (_DOCS / "consul.md").read_text(), re.DOTALL)

_REDIS = (_DOCS / "redis.md").read_text()
#: Rights of the hub's user in Redis, and further ones for two tiers of routes, and to let Traefik in.
(REDIS_HUB,) = re.findall(r"^user hub on >change-me (.*)$", _REDIS, re.MULTILINE)
(REDIS_HUB_TIERS,) = re.findall(r"^ACL SETUSER hub (~.*)$", _REDIS, re.MULTILINE)
(REDIS_ADMITTING,) = re.findall(r"^ACL SETUSER hub (\+.*)$", _REDIS, re.MULTILINE)
#: Rights of Traefik's user, and further ones for two tiers.
(REDIS_TRAEFIK,) = re.findall(r"^user traefik on >change-me-too (.*)$", _REDIS, re.MULTILINE)
(REDIS_TRAEFIK_TIERS,) = re.findall(r"^ACL SETUSER traefik (~.*)$", _REDIS, re.MULTILINE)
