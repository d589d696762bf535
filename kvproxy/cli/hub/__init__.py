"""The hub's configuration as the commands read it."""
