"""A page for administrators: the routes, who serves them, and what ``kvproxy check`` says, as a JupyterHub service."""
