"""A real JupyterHub for tests, and its users."""

from .client import Answer, HubClient
from .process import USER_PASSWORD, HubProcess

__all__ = ["USER_PASSWORD", "Answer", "HubClient", "HubProcess"]
