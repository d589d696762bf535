"""Names that clients write as they should not; those of the conformance kit are run for each backend."""

from __future__ import annotations

import re
from collections.abc import Callable

from kvproxy.testing.conformance.proxy_names import NAMES, as_hub

from .proxies import Client, Doors, Start, add_all, port_of


async def test_raw_characters_never_reach_another_user(
    start_proxy: Start, doors: Doors, client_of: Callable[..., Client]
) -> None:
    """Some clients send quotes, brackets or bytes of UTF-8 as they are."""
    proxy = await start_proxy()
    hub, *targets = [await doors.open() for _ in ["/", *NAMES]]
    await add_all(proxy, [("/", hub), *((f"/user/{as_hub(n)}/", t) for n, t in zip(NAMES, targets, strict=True))])
    for name, target in zip(NAMES, targets, strict=True):
        if not re.search(r"[ /?#%]", name):
            status, body = await client_of(proxy).ask(f"/user/{name}/")
            assert (status, body) == (200, port_of(target)) or status == 400, name
