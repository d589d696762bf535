"""Types that many modules name."""

from __future__ import annotations

from logging import Logger, LoggerAdapter
from typing import Any, TypeAlias

Log: TypeAlias = "Logger | LoggerAdapter[Any]"
