"""Traefik as something to ask and to configure; no process and no loop."""
