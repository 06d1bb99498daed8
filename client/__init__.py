"""The client library: send pictures through running GO-COM services and get back what the receiver made of them.

    from gocom.client import Client, LocalStack

What is named here is imported when it is first used: the pytest plugin lives in this package, and is loaded in every
test run of the machine.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gocom.client.client import AsyncClient, Client
    from gocom.client.local_stack import LocalStack
    from gocom.client.results import Preview, SendResult
    from gocom.common.types import LinkSettings

__all__ = ["AsyncClient", "Client", "LinkSettings", "LocalStack", "Preview", "SendResult"]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name in ("AsyncClient", "Client"):
        from gocom.client import client  # noqa: PLC0415

        return getattr(client, name)
    if name == "LocalStack":
        from gocom.client.local_stack import LocalStack  # noqa: PLC0415

        return LocalStack
    if name in ("Preview", "SendResult"):
        from gocom.client import results  # noqa: PLC0415

        return getattr(results, name)
    if name == "LinkSettings":
        from gocom.common.types import LinkSettings  # noqa: PLC0415

        return LinkSettings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
