"""File names that are special in URLs pass Traefik unchanged, as JupyterLab's contents API shows."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from kvproxy.testing.hub import HubClient

pytestmark = [pytest.mark.hub, pytest.mark.timeout(180)]

NAMES = [
    "plain.txt",
    "100%.txt",
    "100%25.txt",
    "a%2Fb.txt",
    "a%2fb%252Fc.txt",
    "%.txt",
    "%zz.txt",
    "C# notes.txt",
    "what?.txt",
    "a;b;c=d.txt",
    "a b  c.txt",
    "a+b.txt",
    "q=1&r=2.txt",
    "user@host.txt",
    "!$'()*,:[]~^.txt",
    '{}|"<>`.txt',
    "back\\slash.txt",
    "dots...txt",
    "naïve é.txt",
    "日本語 ノート.txt",
    "🚀 ﷽ \u202e.txt",
]
#: Characters that JavaScript's encodeURIComponent, and so JupyterLab, leaves as they are.
JAVASCRIPT = "!~*'()"
#: Characters that the standard for URLs (RFC 3986) allows in a path as they are.
LITERAL = "!$&'()*+,;=:@~"
#: Characters that some programs send as they are although the standard does not allow it.
CARELESS = LITERAL + '[]|^{}<>`\\"'

#: Two names for one place, and places outside of the folder: what the server makes of them is up to the server.
ODD_PATHS = [
    "folder%2Finside.txt",
    "folder%2finside.txt",
    "folder/inside.txt",
    "folder%5Cinside.txt",
    "folder;v=1/inside.txt",
    "folder%3Bv=1/inside.txt",
    "inside.txt%23fragment",
    "inside.txt%3Fquery",
    "folder%252Finside.txt",
    "%66older/inside.txt",
    "folder/inside.txt?content=0",
    "folder/inside.txt?content=0&type=file&x=%2F%3F%26%23+;a=b",
    "n%C3%A4chste",
]


@pytest.fixture
async def fay(hub):
    """A user whose server runs."""
    async with HubClient(hub, "fay") as client:
        await client.spawn()
        yield client


@pytest.mark.parametrize("safe", [JAVASCRIPT, LITERAL, CARELESS], ids=["javascript", "literal", "careless"])
@pytest.mark.parametrize("name", NAMES)
async def test_file_is_made_read_and_deleted_by_its_own_name(fay, name, safe):
    path = "api/contents/" + quote(name, safe=safe)
    file = fay.hub.home("fay") / name
    made = await fay.server("PUT", path, {"type": "file", "format": "text", "content": name})
    assert (made.status, made.json()["name"]) == (201, name)
    assert file.read_text() == name

    read = await fay.server("GET", path)
    assert (read.status, read.json()["content"]) == (200, name)
    raw = await fay.server("GET", "files/" + quote(name, safe=safe))
    assert (raw.status, raw.text) == (200, name)

    assert (await fay.server("DELETE", path)).status == 204
    assert not file.exists()


@pytest.mark.parametrize("path", ODD_PATHS)
async def test_answer_is_the_servers_own(fay, path):
    folder = fay.hub.home("fay") / "folder"
    folder.mkdir(exist_ok=True)
    (folder / "inside.txt").write_text("inside")
    direct = await fay.server("GET", "api/contents/" + path, base=await fay.server_url())
    through = await fay.server("GET", "api/contents/" + path)
    assert (through.status, through.body) == (direct.status, direct.body)
