"""Traefik as a child of the hub."""
