"""Traefik's dynamic configuration besides routes; pure."""
