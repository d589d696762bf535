"""The line of classes that a backend's proxy derives from."""

from __future__ import annotations

import pytest
from jupyterhub.proxy import Proxy

from kvproxy.plugins import proxy_classes
from kvproxy.proxy import KVTraefikProxy, TraefikProxy

PROXIES = [entry.load() for entry in proxy_classes().values() if entry.value.startswith("kvproxy")]


@pytest.mark.parametrize("cls", PROXIES, ids=lambda cls: cls.__name__)
def test_two_classes_stand_between_a_backend_and_jupyterhub(cls: type[KVTraefikProxy]) -> None:
    """As the documentation says; settings in a section of any other class would be read without a word."""
    line = [base for base in cls.__mro__ if base.__module__ != cls.__module__]
    assert line[: line.index(Proxy)] == [KVTraefikProxy, TraefikProxy]
