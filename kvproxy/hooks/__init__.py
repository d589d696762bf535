"""Hooks of plugins: they change a route, or are notified of one."""
