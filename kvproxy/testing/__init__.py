"""Public test kit: real servers (`servers`), pytest fixtures for them (`fixtures`)."""
