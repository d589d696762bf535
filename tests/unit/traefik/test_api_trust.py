"""The authority of Traefik's API: sentences about a file that cannot be used."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from kvproxy.errors import ConfigurationError
from kvproxy.testing.servers.tls import Certificates
from kvproxy.traefik.api import api_trust


def test_without_an_authority_the_machines_own_count() -> None:
    """Or none, as before."""
    assert api_trust("", True) is True
    assert api_trust("", False) is False


def test_only_the_named_authority_counts(tmp_path: Path) -> None:
    """The context checks names, and knows one authority."""
    context = api_trust(str(Certificates.make(tmp_path).ca), True)
    assert isinstance(context, ssl.SSLContext)
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize("content", [None, "", "no certificate\n", "-----BEGIN CERTIFICATE-----\n"])
def test_a_file_that_cannot_be_used_is_named_with_the_setting(content: str | None, tmp_path: Path) -> None:
    """One that is missing, is empty, or holds no whole certificate."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(
        ConfigurationError, match=r"c\.TraefikProxy\.traefik_api_ca = .*ca\.pem.* cannot be used"
    ) as error:
        api_trust(str(file), True)
    assert ("No such file" in str(error.value)) == (content is None)
    assert "_ssl" not in str(error.value)


def test_an_authority_and_no_check_contradict_each_other(tmp_path: Path) -> None:
    """An administrator who sets both believes that something is checked."""
    with pytest.raises(ConfigurationError, match=r"traefik_api_ca .* traefik_api_validate_cert = False .* remove one"):
        api_trust(str(Certificates.make(tmp_path).ca), False)
