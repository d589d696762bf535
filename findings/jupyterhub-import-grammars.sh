#!/bin/sh
# JupyterHub 6.1.1 with jsonschema 4.26.0: importing it compiles 39 grammars of internet addresses that nothing asks for.
#
# JupyterHub reports events by jupyter-events 0.12.1, which requires jsonschema with its optional formats. Since 4.25
# jsonschema takes the formats "iri" and "iri-reference" from rfc3987-syntax 1.1.0. That module compiles one grammar for
# each of its rules when it is imported, without a cache, though jsonschema uses two of them. So most of the CPU time of
# `import jupyterhub.app` goes there, and the same is paid at each start of a hub and of each user's server. A hub with
# jsonschema 4.24 starts in less than half of the CPU time, and validates the same events.
#
# Seen: 39 grammars with jsonschema 4.26.0 | 0 with 4.24.1 | more than half of the CPU time: True
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jupyterhub==6.1.1 jupyter-events==0.12.1 jsonschema==4.26.0 rfc3987-syntax==1.1.0 lark==1.3.1
cat > "$folder/count.py" <<'PY'
import contextlib
import time

number = 0
with contextlib.suppress(ImportError):
    import lark

    make = lark.Lark.__init__

    def counted(self, *arguments, **named):
        global number
        number += 1
        make(self, *arguments, **named)

    lark.Lark.__init__ = counted

before = time.process_time()
import jupyterhub.app

print(number, time.process_time() - before)
PY
# The first import also writes the bytecode of all modules.
"$folder/venv/bin/python" "$folder/count.py" > /dev/null
"$folder/venv/bin/python" "$folder/count.py" > "$folder/new"
"$folder/venv/bin/pip" install --quiet jsonschema==4.24.1
"$folder/venv/bin/python" "$folder/count.py" > "$folder/old"
cd "$folder"
PYTHONPATH=$here venv/bin/python -B - <<'PY'
from pathlib import Path

from running import judge

(new, with_grammars), (old, without) = (Path(name).read_text().split() for name in ("new", "old"))
most = float(without) < float(with_grammars) / 2
print(f"{new} grammars with jsonschema 4.26.0 | {old} with 4.24.1 | more than half of the CPU time: {most}")
judge((int(new), int(old), most), (39, 0, True))
PY
