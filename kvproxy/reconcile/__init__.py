"""Keeping the store and Traefik in sync with the desired routes."""
