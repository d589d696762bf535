"""What is worth counting, and the seam to whoever counts it: the loops know no metrics library."""

from __future__ import annotations


class Observer:
    """Is told of what happens. This one counts nothing. No method may raise or take long."""

    def committed(self, operations: int, seconds: float) -> None:
        """A commit of so many operations is in the store; it took so many seconds."""

    def store_failed(self) -> None:
        """The store could not do what it was asked for; it is going to be asked again."""

    def repaired(self, entries: int) -> None:
        """So many entries were not as the hub left them, and are put right."""

    def told_again(self) -> None:
        """Traefik did not catch up, and was told again."""

    def served(self, seconds: float) -> None:
        """A route is served, so many seconds after it was asked for."""

    def not_served(self) -> None:
        """A route was asked for and is not served."""
