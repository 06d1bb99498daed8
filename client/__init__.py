"""The client library: send pictures through running GO-COM services and get back what the receiver made of them."""

from client.client import AsyncClient, Client
from client.results import Preview, SendResult
from client.stack import LocalStack
from common.types import LinkSettings

__all__ = ["AsyncClient", "Client", "LinkSettings", "LocalStack", "Preview", "SendResult"]
