"""One description of a ZooKeeper connection, from which both the hub's client and Traefik's provider are made."""

from dataclasses import dataclass, field
from urllib.parse import unquote

from kvproxy import ConfigurationError


@dataclass(frozen=True)
class Connection:
    """Where ZooKeeper is and as whom to come.

    Args:
        hosts: each ``host`` or ``host:port``, with commas between them; kazoo and Traefik both default to 2181.
        username: of ZooKeeper's ``digest`` scheme; empty for nobody.
        password: never shown.
    """

    hosts: str
    username: str = ""
    password: str = field(default="", repr=False)

    @property
    def login(self) -> str:
        """As the ``digest`` scheme takes it, empty for nobody."""
        return f"{self.username}:{self.password}" if self.username else ""


def parse_connection(url: str, username: str = "", password: str = "") -> Connection:
    """Put together ``zookeeper_url`` and its companions, which win over it.

    Raises:
        ConfigurationError: if they make no sense.

    >>> parse_connection("zookeeper://zk1,zk2:2182/").hosts
    'zk1,zk2:2182'
    """
    scheme, _, rest = url.partition("://")
    login, _, hosts = rest.removesuffix("/").rpartition("@")
    if scheme != "zookeeper" or not all(hosts.split(",")) or any(c in hosts for c in "/?#"):
        raise ConfigurationError("zookeeper_url must look like zookeeper://[user:password@]host:2181,host2:2181.")
    name, _, secret = login.partition(":")
    username, password = username or unquote(name), password or unquote(secret)
    if bool(username) != bool(password) or ":" in username:
        raise ConfigurationError("ZooKeeper wants both a user and a password or none, and no colon in the user.")
    return Connection(hosts, username, password)
