"""The documentation's build: ``nox -s docs``."""

import re
import sys
from importlib.metadata import version as version_of
from pathlib import Path

from docutils import nodes
from pygments.lexers import TextLexer
from sphinx.application import Sphinx
from traitlets.config import Configurable

# The sentences of the code are read by the tests' own reader.
sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.docs.messages import all_messages

project = "kvproxy"
author = "kvproxy contributors"
version = release = version_of("kvproxy")
project_copyright = author

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    # JupyterHub's own: traits with their types, defaults and help.
    "autodoc_traits",
    "sphinx_copybutton",
    "sphinx_click",
]
# Not dashes: `--` begins options.
smartquotes_action = "qe"
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
# In settings' help, single backticks mean code, as `jupyterhub --help-all` shows them.
default_role = "literal"

# Of the names that docstrings link to, kvproxy's own must exist, but for the testing kit's, of which the reference has
# a part. Nobody else's inventory is fetched, so the site is built without a network.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!kvproxy).*"),
    (r"py:.*", r"kvproxy\.testing\..*"),
    (r"py:.*", r"kvproxy\..*\._\w+"),
]

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "pydata_sphinx_theme"
html_title = "kvproxy"
html_show_sourcelink = False
# It has no pages below it.
html_sidebars = {"tutorial/index": []}
html_theme_options = {
    "show_prev_next": True,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}

copybutton_prompt_text = "$ "
linkcheck_timeout = 20
linkcheck_retries = 2
# Addresses of the reader's own machine, and of examples.
linkcheck_ignore = [r"https?://(localhost|127\.0\.0\.1|[\w.-]*example\.(org|com))([:/].*)?$"]


def list_arguments(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Make a list of what the testing kit's docstrings write as ``name: text`` at the beginning of a line."""
    if not name.startswith("kvproxy.testing"):
        return
    made: list[str] = []
    inside = False
    for line in lines:
        if re.match(r"[a-z_]+(, [a-z_]+)*: \S", line):
            made += [*([] if inside else [""]), re.sub(r"^([^:]+):", r"- **\1**:", line)]
            inside = True
        else:
            inside = inside and bool(line)
            made.append(f"  {line.strip()}" if inside else line)
    lines[:] = made


def show_examples(app: Sphinx, context: object, lines: list[str]) -> None:
    """Make a block of code of the examples that end a command's help."""
    # What click is told not to fill comes as a line block.
    plain = [line.removeprefix("| ").strip() for line in lines]
    if "Examples:" in plain:
        examples = plain[plain.index("Examples:") + 1 :]
        lines[:] = ["", ".. code-block:: text", "", *(f"   {line}" for line in examples), ""]


def hide_arguments(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returns: str | None
) -> tuple[str, str | None] | None:
    """Show no arguments of classes with settings: JupyterHub makes them, and they say nothing."""
    return ("", None) if isinstance(obj, type) and issubclass(obj, Configurable) else None


def index_messages(app: Sphinx, document: nodes.document) -> None:
    """Let the site's search lead from a whole line of the log to the page that quotes a part of it."""
    if app.env.current_document.docname == "how-to/troubleshooting":
        words = {word for message in all_messages() for word in re.findall(r"\w{3,}", message.text.lower())}
        document += nodes.meta(name="keywords", content=",".join(sorted(words)))


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    # Before napoleon's.
    app.connect("autodoc-process-docstring", list_arguments, priority=100)
    app.connect("autodoc-process-signature", hide_arguments)
    app.connect("sphinx-click-process-epilog", show_examples)
    app.connect("doctree-read", index_messages)
    # Pygments' own stumbles over a policy of Consul's.
    app.add_lexer("hcl", TextLexer)
