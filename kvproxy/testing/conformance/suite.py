"""The base of all conformance kits: their tests, none of which may be overridden away."""

from __future__ import annotations

from typing import Any, ClassVar

#: Levels of a kit, by what a test needs the store to claim; the rest is the core.
EXTENDED = ("most_operations", "one_operation_more", "most_bytes", "half_a_transaction")


class Kit:
    """Base of the conformance kits.

    A derived class may not replace a test of the kit. If one cannot hold, it says so, and the report shows it::

        class TestMyStore(StoreConformance):
            @pytest.mark.xfail(strict=True, reason="one key cannot be the beginning of another")
            async def test_a_key_is_not_a_prefix(self, store):
                await super().test_a_key_is_not_a_prefix(store)

    Raises:
        TypeError: when a class is derived that overrides a test in any other way.
    """

    #: Name of what is tested, for the report; the name of the class without ``Test`` if empty.
    subject: ClassVar[str] = ""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, test in vars(cls).items():
            if name.startswith("test_") and any(name in vars(base) for base in cls.__mro__[1:]):
                marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "xfail"]
                if not any(mark.kwargs.get("strict") and mark.kwargs.get("reason") for mark in marks):
                    raise TypeError(
                        f"{cls.__name__}.{name} overrides a test of the conformance kit. Mark it with "
                        "pytest.mark.xfail(strict=True, reason=…) and call the kit's own, or let it run."
                    )


def kits_of(cls: type) -> list[str]:
    """Names of the kits that a class of tests derives from, the most special first."""
    own = [base for base in cls.__mro__ if issubclass(base, Kit) and base is not Kit]
    return [base.__name__ for base in own if base.__module__.startswith("kvproxy.testing")]


def subject_of(cls: type) -> str:
    """Name of what a class of tests is about."""
    return getattr(cls, "subject", "") or cls.__name__.removeprefix("Test")
