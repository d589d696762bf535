"""Helm's output for the chart of Zero to JupyterHub with the values of examples/kubernetes.

The chart is not part of this repository, so these tests are there only where the variable KVPROXY_CHART names a folder
with it. Helm is the program that the variable KVPROXY_HELM names, else the one on PATH.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from kvproxy.traefik.static_config import deep_merge

from .chart import chart_folder
from .deployed import EXAMPLES

#: Values of a hub without kvproxy, with fixed secrets: the chart generates new ones at each rendering.
BEFORE = {
    "hub": {
        "config": {
            "ConfigurableHTTPProxy": {"auth_token": "a" * 32},
            "JupyterHub": {"cookie_secret": "b" * 32, "authenticator_class": "dummy"},
            "CryptKeeper": {"keys": ["c" * 64]},
        }
    }
}
LETS_ENCRYPT = {
    "proxy": {
        "https": {
            "enabled": True,
            "hosts": ["hub.example.org"],
            "letsencrypt": {"contactEmail": "admin@example.org"},
        }
    }
}

Objects = dict[tuple[str, str], dict[str, Any]]


def rendered(chart: Path, directory: Path, further: dict[str, Any], *names: str, **sets: str) -> Objects:
    """All objects by kind and name, with values of the example by their names; ``proxy_chp_x="y"`` is a ``--set``."""
    config = directory / "config.yaml"
    config.write_text(yaml.safe_dump(deep_merge(BEFORE, further)))
    files = [config, *(EXAMPLES / f"kubernetes/{name}.yaml" for name in names)]
    command = [os.environ.get("KVPROXY_HELM", "helm"), "template", "hub", str(chart)]
    command += [part for file in files for part in ("--values", str(file))]
    command += [part for name, value in sets.items() for part in ("--set", f"{name.replace('_', '.')}={value}")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = [one for one in yaml.safe_load_all(done.stdout) if one]
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def arguments_of(objects: Objects) -> list[str]:
    """Those of configurable-http-proxy."""
    (container,) = objects["Deployment", "proxy"]["spec"]["template"]["spec"]["containers"]
    return list(container["args"])


if (CHART := chart_folder()) is not None:

    @pytest.mark.parametrize("names", [["values"], ["values", "values-letsencrypt"]], ids="+".join)
    def test_values_fit_the_charts_schema(names: list[str]) -> None:
        """With no name that the chart does not know."""
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        for name in names:
            values = deep_merge(values, yaml.safe_load((EXAMPLES / f"kubernetes/{name}.yaml").read_text()))
        jsonschema.validate(values, yaml.safe_load((CHART / "values.schema.yaml").read_text()))

    @pytest.mark.parametrize(
        "https",
        [
            {},
            {"enabled": True, "type": "manual", "manual": {"key": "k", "cert": "c"}},
            {"enabled": True, "type": "secret", "secret": {"name": "certificate"}},
            {"enabled": True, "type": "offload"},
            LETS_ENCRYPT["proxy"]["https"],
        ],
        ids=["no HTTPS", "manual", "secret", "offload", "letsencrypt"],
    )
    def test_the_charts_proxy_goes_on_and_passes_on(tmp_path: Path, https: dict[str, Any]) -> None:
        """However HTTPS is had: the same Services, and one argument that is another."""
        further = {"proxy": {"https": https}} if https else {}
        before, after = rendered(CHART, tmp_path, further), rendered(CHART, tmp_path, further, "values")
        assert "--default-target=http://kvproxy-public" in arguments_of(after)
        target = [argument.startswith("--default-target=") for argument in arguments_of(after)].index(True)
        assert [*arguments_of(before)[:target], *arguments_of(before)[target + 1 :]] == [
            argument for argument in arguments_of(after) if not argument.startswith("--default-target=")
        ]
        services = [key for key in before if key[0] == "Service"]
        assert {key: before[key]["spec"] for key in services} == {key: after[key]["spec"] for key in services}

    def test_ingress_and_route_lead_to_the_charts_service(tmp_path: Path) -> None:
        """Which leads to its proxy, and that to Traefik."""
        further = {
            "ingress": {"enabled": True, "hosts": ["hub.example.org"]},
            "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}]},
        }
        after = rendered(CHART, tmp_path, further, "values")
        (path,) = after["Ingress", "jupyterhub"]["spec"]["rules"][0]["http"]["paths"]
        assert path["backend"]["service"]["name"] == "proxy-public"
        (rule,) = after["HTTPRoute", "jupyterhub"]["spec"]["rules"]
        assert rule["backendRefs"] == [{"name": "proxy-public", "port": 80}]

    @pytest.mark.parametrize(
        ("names", "url"),
        [(["values"], "http://proxy-http:8000/"), (["values", "values-letsencrypt"], "http://kvproxy-public:80/")],
        ids=["by the chart's proxy", "straight to Traefik"],
    )
    def test_lets_encrypt(tmp_path: Path, names: list[str], url: str) -> None:
        """Its Traefik leads to the chart's proxy, or past it; the rest of its configuration stays."""
        dynamic = yaml.safe_load(
            rendered(CHART, tmp_path, LETS_ENCRYPT, *names)["ConfigMap", "autohttps"]["data"]["dynamic.yaml"]
        )
        assert dynamic["http"]["services"]["default"]["loadBalancer"]["servers"] == [{"url": url}]
        assert dynamic["http"]["routers"]["default"]["service"] == "default"

    def test_changing_over_and_back_restarts_no_proxy(tmp_path: Path) -> None:
        """Its pods' template is the same before and after the first step, and before and after the way back."""
        chp = "proxy_chp_defaultTarget"
        pods = [
            rendered(CHART, tmp_path, {}, *names, **sets)["Deployment", "proxy"]["spec"]["template"]
            for names, sets in [
                ([], {}),
                (["values"], {chp: "null"}),
                (["values"], {}),
                ([], {chp: "http://kvproxy-public"}),
            ]
        ]
        assert pods[0] == pods[1]
        assert pods[1] != pods[2]
        assert pods[2] == pods[3]

    def test_users_servers_may_come_to_traefik(tmp_path: Path) -> None:
        """Besides what the chart lets them."""
        before, after = rendered(CHART, tmp_path, {}), rendered(CHART, tmp_path, {}, "values")
        policy = ("NetworkPolicy", "singleuser")
        added = [rule for rule in after[policy]["spec"]["egress"] if rule not in before[policy]["spec"]["egress"]]
        assert [rule["to"][0]["podSelector"]["matchLabels"] for rule in added] == [
            {"app.kubernetes.io/name": "kvproxy-traefik"}
        ]
        assert len(after[policy]["spec"]["egress"]) == len(before[policy]["spec"]["egress"]) + 1

    def test_the_hubs_pods_have_the_label_that_our_policies_ask_for(tmp_path: Path) -> None:
        """Since 4.1; before, the hub would reach neither Redis nor Traefik's API."""
        labels = rendered(CHART, tmp_path, {}, "values")["Deployment", "hub"]["spec"]["template"]["metadata"]["labels"]
        assert labels["app.kubernetes.io/component"] == "hub"
