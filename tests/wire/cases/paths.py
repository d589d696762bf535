"""Paths and queries: what of a request's target arrives."""

from __future__ import annotations

from ..case import ALL, HOSTS, SHORT, Case, ask, get

UTF_8 = "zoë".encode().decode("latin-1")

CASES = [
    Case("plain", "A plain request", get("Accept: */*", "User-Agent: wire"), setups=ALL),
    Case("double-slash", "`//` inside a path", get(path="/a//b"), setups=ALL),
    Case("url-in-path", "A URL in a path, as jupyter-server-proxy takes it", get(path="/proxy/https://host/x")),
    Case("slash-slash-user", "`//` before the path", ask(target="{base}//user/x/", only=SHORT)),
    Case("dot-segment", "`/./` in a path", get(path="/a/./b", only=SHORT), setups=ALL),
    Case("dots-segment", "`/../` in a path", get(path="/a/../b", only=SHORT), setups=ALL),
    Case("dots-out", "`/../` that leads to another user", get(path="/../other/", only=SHORT)),
    Case("encoded-dots", "`/%2e%2E/` in a path", get(path="/a/%2e%2E/b", only=SHORT), setups=ALL),
    Case("dots-in-name", "Dots in a name", get(path="/..a/b../.c/...")),
    Case("encoded", "`%2F %25 %3B %3F %23 %5C %20` in a path", get(path="/a%2Fb%25c%3Bd%3Fe%23f%5Cg%20h"), setups=ALL),
    Case("lower-hex", "Hexadecimal digits in lower case", get(path="/%c3%a9%2f")),
    Case("needlessly-encoded", "Letters that are needlessly encoded", get(path="/%61%7E")),
    Case("sub-delims", "`; , = @ : ! $ & ' ( ) * +` in a path", get(path="/a;b,c=d@e:f!g$h&i'j(k)l*m+n")),
    Case("other-literals", '`[ ] | ^ { } "` in a path', get(path='/a[b]c|d^e{f}g"h')),
    Case("backslash", "A backslash in a path", get(path="/a\\b")),
    Case("raw-utf-8", "UTF-8 in a path, not encoded", get(path="/" + UTF_8, only=SHORT)),
    Case("bad-percent", "`%zz` in a path", get(path="/a%zz", only=SHORT)),
    Case("no-utf-8", "`%ff`, which is no UTF-8, in a path", get(path="/a%ff", only=SHORT)),
    Case("encoded-null", "`%00` in a path", get(path="/a%00b", only=SHORT)),
    Case("fragment", "`#` in a target", get(path="/a#b", only=SHORT)),
    Case("no-slash", "The route's path without its last slash", ask(target="{path}"), setups=ALL),
    Case("longer-name", "A longer name than the route's", ask(target="{path}y/", only=SHORT)),
    Case("capital-path", "`/USER/` in capitals", ask(target="{base}/USER/capital-path/", only=SHORT)),
    Case(
        "encoded-name",
        "A name that is encoded needlessly",
        ask(target="{base}/user/encoded%2Dname/", only=("status",)),
        setups=ALL,
        show=("status",),
    ),
    Case("query", 'A query with `% | " // ..`', get(path='/?a=%&b=|&c="&d=//x&e=../y&f=%2F'), setups=ALL),
    Case("semicolon-query", "`;` in a query", get(path="/?a;b=1;c"), setups=ALL),
    Case("empty-query", "A `?` with nothing behind it", get(path="/a?")),
    Case("question-query", "`?` and `#` in a query", get(path="/a?b=?&c=?")),
    Case("plus-query", "`+` and `%20` in a query", get(path="/?a+b%20c")),
    Case("raw-query", "UTF-8 in a query, not encoded", get(path="/?" + UTF_8, only=SHORT)),
    Case("absolute-form", "A whole URL as a request's target", ask(target="http://wire.test{path}/a")),
    Case("long-path", "A path of 60 kB", get(path="/" + "a" * 60_000, only=SHORT)),
    Case("big-path", "A path of 900 kB", get(path="/" + "a" * 900_000, only=SHORT)),
    Case(
        "host-capitals",
        "A host in capitals",
        ask(target="{path}/", host="HOST-CAPITALS.Wire.Test", only=SHORT),
        setups=(HOSTS,),
    ),
    Case(
        "host-dot",
        "A host with a last dot",
        ask(target="{path}/", host="host-dot.wire.test.", only=SHORT),
        setups=(HOSTS,),
    ),
    Case("host-port", "A host with a port", ask(target="{path}/", host="host-port.wire.test:8443"), setups=(HOSTS,)),
    Case(
        "health",
        "`/_chp_healthz`",
        ask(target="/_chp_healthz", only=("status", "answer body")),
        setups=ALL,
        show=("status", "answer body"),
    ),
]
