"""What Traefik is set up with besides routes; pure."""
