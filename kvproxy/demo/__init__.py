"""A complete hub on this machine, to try things out: ``python -m kvproxy.demo``."""
