"""The client library: it sends pictures through running GO-COM services, and returns the receiver's reconstructions.

    from gocom.client import Client, LocalStack

The public names are imported at their first use, because every pytest run in an environment with gocom imports this
package for its pytest plugin.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gocom.client.client import AsyncClient, Client
    from gocom.client.local_stack import LocalStack
    from gocom.client.results import Preview, SendResult
    from gocom.common.goals import ConsumerGoal
    from gocom.common.types import LinkSettings

__all__ = ["AsyncClient", "Client", "ConsumerGoal", "LinkSettings", "LocalStack", "Preview", "SendResult"]


def __getattr__(name: str) -> Any:
    """Return a public name, which is imported at its first use. Raises AttributeError for any other name."""
    if name in ("AsyncClient", "Client"):
        from gocom.client import client  # noqa: PLC0415

        return getattr(client, name)
    if name == "LocalStack":
        from gocom.client.local_stack import LocalStack  # noqa: PLC0415

        return LocalStack
    if name in ("Preview", "SendResult"):
        from gocom.client import results  # noqa: PLC0415

        return getattr(results, name)
    if name == "ConsumerGoal":
        from gocom.common.goals import ConsumerGoal  # noqa: PLC0415

        return ConsumerGoal
    if name == "LinkSettings":
        from gocom.common.types import LinkSettings  # noqa: PLC0415

        return LinkSettings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
