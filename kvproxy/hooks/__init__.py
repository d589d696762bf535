"""Hooks of plugins: they change a route, or are told of one."""
