"""The client library: send pictures through running GO-COM services and get back what the receiver made of them."""

from gocom.client.client import AsyncClient, Client
from gocom.client.results import Preview, SendResult
from gocom.client.stack import LocalStack
from gocom.common.types import LinkSettings

__all__ = ["AsyncClient", "Client", "LinkSettings", "LocalStack", "Preview", "SendResult"]
