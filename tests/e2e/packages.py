"""Packages of the package index beside the tests' own, fetched once and kept in the user's cache directory."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_SECONDS = 300


def unpacked(name: str, *requirements: str) -> Path:
    """A folder for ``PYTHONPATH`` with just these packages, each with its version, and their programs in ``bin``.

    Args:
        name: what the folder is called.
        requirements: such as ``toml==0.10.2``; what they need themselves is not fetched.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kvproxy" / "python"
    kept = cache / f"{name}-{sys.version_info.major}.{sys.version_info.minor}"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=cache))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(new), *requirements]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
        assert done.returncode == 0, done.stderr
        # Another process may have been quicker.
        with contextlib.suppress(OSError):
            new.rename(kept)
        shutil.rmtree(new, ignore_errors=True)
    return kept
