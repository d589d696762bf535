"""The desired routes, the store and Traefik are brought together."""
