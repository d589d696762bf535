"""Runs a program under the system calls that a unit's lines leave it, by libseccomp, which systemd uses as well.

    python confined.py UNIT PROGRAM [ARGUMENT …]

Of the unit it takes SystemCallFilter, SystemCallErrorNumber, RestrictAddressFamilies, MemoryDenyWriteExecute,
LockPersonality, RestrictRealtime, NoNewPrivileges and UMask. Settings that hide files and
devices need systemd or root, and are not applied.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NOT_EQUAL, _EQUAL, _MASKED = 1, 4, 7
_PROT_WRITE, _PROT_EXEC = 2, 4
_NO_NEW_PRIVILEGES = 38


class _Comparison(ctypes.Structure):
    _fields_ = (("argument", ctypes.c_uint), ("how", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


def lines_of(unit: str, name: str) -> list[str]:
    """The values of a setting that may stand there several times."""
    return re.findall(rf"^{name}=(.*)$", unit, re.MULTILINE)


def calls(names: Iterable[str]) -> set[str]:
    """System calls by their names and the names of systemd's groups."""
    found: set[str] = set()
    for name in names:
        if not name.startswith("@"):
            found.add(name)
            continue
        done = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
        inside = [line.strip() for line in done.stdout.splitlines()[1:]]
        found |= calls(line for line in inside if line and not line.startswith("#"))
    return found


def allowed(unit: str) -> set[str]:
    """The system calls that are left; those that systemd always leaves are among them."""
    left = calls(["@default"])
    for value in lines_of(unit, "SystemCallFilter"):
        named = calls(value.removeprefix("~").split())
        left = left - named if value.startswith("~") else left | named
    # systemd itself executes the program.
    return left | {"execve", "brk"}


class Filter:
    """One of libseccomp's. Raises OSError where a rule is refused."""

    def __init__(self, library: str, otherwise: int) -> None:
        self._seccomp = ctypes.CDLL(library, use_errno=True)
        self._seccomp.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._seccomp.seccomp_init(otherwise))

    def rule(self, action: int, call: str, *comparisons: _Comparison) -> None:
        """Add the action for a call; unknown calls are ignored."""
        number = self._seccomp.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            return
        given = (_Comparison * len(comparisons))(*comparisons)
        self._check(self._seccomp.seccomp_rule_add_array(self._context, action, number, len(comparisons), given))

    def load(self) -> None:
        """From now on, for this process and all that it becomes."""
        self._check(self._seccomp.seccomp_load(self._context))

    @staticmethod
    def _check(result: int) -> None:
        if result:
            raise OSError(-result, os.strerror(-result))


def confine(unit: str, library: str = "libseccomp.so.2") -> None:
    """Leave this process what the unit leaves its program. Raises OSError where that cannot be."""
    number = getattr(errno, (lines_of(unit, "SystemCallErrorNumber") or ["EPERM"])[-1])
    refuse = _ERRNO | number
    left = allowed(unit)
    os.umask(int(lines_of(unit, "UMask")[-1], 8))
    if ctypes.CDLL(None, use_errno=True).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    wanted = Filter(library, refuse)
    for call in sorted(left):
        wanted.rule(_ALLOW, call)
    further = Filter(library, _ALLOW)
    families = {
        int(getattr(socket, name)) for value in lines_of(unit, "RestrictAddressFamilies") for name in value.split()
    }
    for family in set(range(48)) - families:
        further.rule(_ERRNO | errno.EAFNOSUPPORT, "socket", _Comparison(0, _EQUAL, family, 0))
    if lines_of(unit, "MemoryDenyWriteExecute") == ["yes"]:
        both = _PROT_WRITE | _PROT_EXEC
        further.rule(refuse, "mmap", _Comparison(2, _MASKED, both, both))
        for call in ("mprotect", "pkey_mprotect"):
            further.rule(refuse, call, _Comparison(2, _MASKED, _PROT_EXEC, _PROT_EXEC))
    if lines_of(unit, "LockPersonality") == ["yes"]:
        further.rule(refuse, "personality", _Comparison(0, _NOT_EQUAL, 0, 0))
    if lines_of(unit, "RestrictRealtime") == ["yes"]:
        further.rule(refuse, "sched_setscheduler", _Comparison(1, _NOT_EQUAL, 0, 0))
    further.load()
    wanted.load()


if __name__ == "__main__":
    confine(Path(sys.argv[1]).read_text())
    os.execv(sys.argv[2], sys.argv[2:])
