"""Access to a hub's configuration and state for the commands."""
