"""Conformance kits and lifecycle tests on each version of servers and of JupyterHub that can be had as a package."""
