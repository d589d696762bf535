"""The differential test of the wire: the same bytes through configurable-http-proxy and through kvproxy.

A case is a client, a server behind the proxy, and what of their two recordings is looked at. ``expected.py`` says for
each case what may differ, which side is better, and why; everything else must be equal.
"""
