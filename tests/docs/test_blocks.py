"""Every command and configuration block of the documentation is run, or says why not."""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from .blocks import ROOT, SHELLS, Block, all_blocks, blocks_of, commands, doing, pages
from .configuration import check, check_static, is_static, load

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.timeout(300)

CONFIGURATIONS, PARSED, RUN, TESTED = (doing(action) for action in ("configuration", "parse", "run", "tested"))
RUN_PAGES = sorted({block.page for block in RUN})


def ids(blocks: list[Block]) -> list[str]:
    return [block.name for block in blocks]


def parse(block: Block) -> Any:
    if block.language == "toml":
        return tomllib.loads(block.text)
    if block.language == "json":
        return json.loads(block.text)
    if block.language == "yaml":
        documents = list(yaml.safe_load_all(block.text))
        return documents[0] if len(documents) == 1 else documents
    unit = configparser.ConfigParser(strict=False, allow_no_value=False, interpolation=None)
    unit.read_string(block.text)
    return unit


STATIC = [block for block in PARSED if block.language in {"toml", "yaml"} and is_static(parse(block))]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_says_what_is_done_with_it(page: Path) -> None:
    """By its language or a comment; the message tells the author what to write."""
    wrong = []
    for block in blocks_of(page.read_text(encoding="utf-8"), str(page.relative_to(ROOT))):
        try:
            assert block.action
        except ValueError as error:
            wrong.append(str(error))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("block", CONFIGURATIONS, ids=ids(CONFIGURATIONS))
def test_configuration_is_what_the_hub_takes(block: Block, tmp_path: Path) -> None:
    """Loaded by JupyterHub itself; every setting exists and takes its value."""
    check(load(block.text, tmp_path))


@pytest.mark.parametrize("block", PARSED, ids=ids(PARSED))
def test_files_can_be_read(block: Block) -> None:
    """As the format that they say they are."""
    assert parse(block)


@pytest.mark.parametrize("block", STATIC, ids=ids(STATIC))
def test_traefik_takes_the_static_configuration(block: Block, tmp_path: Path) -> None:
    """The real one, which ends at once if it does not know a name."""
    check_static(parse(block), tmp_path)


@pytest.mark.parametrize("page", RUN_PAGES)
def test_commands_work(page: str, tmp_path: Path) -> None:
    """All of a page, one after another in one shell and an empty directory; output that is shown is printed."""
    blocks = [block for block in RUN if block.page == page]
    script = "set -euo pipefail\n" + "".join(map(commands, blocks))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "CHECKOUT": str(ROOT)}
    ran = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for block in blocks:
        for line in block.text.splitlines() if block.language == "console" else ():
            if line and not line.startswith(("$ ", "> ")):
                assert re.search(re.escape(line).replace("…", ".*"), ran.stdout), f"{block.name}: {line}\n{ran.stdout}"


@pytest.mark.parametrize("block", TESTED, ids=ids(TESTED))
def test_the_named_test_exists_and_takes_the_block_from_its_page(block: Block) -> None:
    """So that neither can be renamed or changed alone."""
    file, _, name = block.argument.partition("::")
    source = (ROOT / file).read_text(encoding="utf-8")
    functions = {
        node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert name in functions, f"{file} has no {name}"
    modules = re.findall(r"^from \.(\w+) import", source, re.MULTILINE)
    beside = [(ROOT / file).with_name(f"{module}.py").read_text(encoding="utf-8") for module in modules]
    read = [source, *beside]
    assert any(Path(block.page).name in text for text in read), f"{file} does not read {block.page}"


def test_the_rules_themselves() -> None:
    """Blocks without a word, shell blocks, directives and broken comments."""
    text = """
```sh
echo one
```

<!-- run -->
```console
$ echo two
two
```

<!-- not run: it needs root -->

```
apt install three
```

- in a list

  ```python
  c.JupyterHub.port = 4
  ```

<!-- continued -->
```python
c.JupyterHub.ip = "::1"
```

<!-- tested -->
```hcl
```

```{toctree}
```
"""
    found = list(blocks_of(text, "page.md"))
    with pytest.raises(ValueError, match=r"page.md:2: nobody says how this block is tested; put <!-- run -->"):
        assert found[0].action
    with pytest.raises(ValueError, match="says nothing behind a colon"):
        assert found[5].action
    assert [found[n].action for n in (1, 2, 3, 6)] == ["run", "nothing", "configuration", "nothing"]
    assert commands(found[1]) == "echo two\n"
    assert found[3].text == "c.JupyterHub.port = 4\n"
    assert found[4].text == 'c.JupyterHub.port = 4\nc.JupyterHub.ip = "::1"\n'


@pytest.mark.parametrize(
    "text",
    [
        "c.TraefikRedisProxy.redis_ulr = 'redis://h'",
        "c.TraefikRedisProxi.redis_url = 'redis://h'",
        "c.TraefikRedisProxy.redis_url = 6379",
        "c.TraefikRedisProxy.redis_url = 'http://h'",
        "c.JupyterHub.port = 'eight'",
        "c.JupyterHub.port = ",
    ],
)
def test_a_slip_in_a_configuration_is_found(text: str, tmp_path: Path) -> None:
    """Or the test above would show nothing."""
    with pytest.raises((Exception, SystemExit)):  # of several kinds, all of them loud
        check(load(text, tmp_path))


def test_shell_blocks_are_never_passed_over() -> None:
    """Each has a comment."""
    assert [block.name for block in all_blocks() if block.language in SHELLS and not block.comment] == []
