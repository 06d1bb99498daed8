"""What the security settings come to: credentials of servers and channels, and what is refused.

A service listens on loopback, or asks for TLS and a token, or was told `insecure`; nothing else. Files are read once,
at start: to change a certificate or a token, start anew.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

import grpc

from gocom.common.errors import InvalidInput
from gocom.common.logs import get_logger
from gocom.common.rpc.addresses import host_of, is_loopback
from gocom.common.rpc.bearer_token import read_token
from gocom.common.rpc.pem_files import CLIENT, SERVER, read_authorities, read_pair
from gocom.common.settings import ClientSettings, SecuritySettings, ServiceSettings

log = get_logger("security")

LOOPBACK = "127.0.0.1"


def check_service(settings: ServiceSettings) -> None:
    """Check what a service's settings say of security, files included.

    Raises:
        InvalidInput: naming the setting.
    """
    server_credentials(settings)
    channel_credentials(settings)
    service_token(settings)
    if not is_loopback(settings.host) and not settings.insecure and not (settings.tls_cert and settings.token_file):
        raise InvalidInput(
            f"host: {settings.host!r} can be reached from other machines; that needs tls_cert, tls_key and token_file, "
            "or `insecure`, where everybody may connect"
        )
    for field in ("tls_key", "token_file"):
        path: Path | None = getattr(settings, field)
        if path is not None and path.stat().st_mode & stat.S_IROTH:
            # Not refused: secrets that are mounted into containers look like this.
            log.warning(f"{field} can be read by every user of this machine", path=str(path))


def check_peers(settings: SecuritySettings | None, addresses: Sequence[str | None]) -> None:
    """Check the settings, if there are any, for connecting to these addresses, if they are given; files included.

    Raises:
        InvalidInput: naming the setting.
    """
    if settings is None:
        return
    channel_credentials(settings)
    for address in addresses:
        if address is not None:
            peer_token(settings, address)


def peer_token(settings: SecuritySettings, address: str) -> str | None:
    """What calls to host:port carry; None: nothing. Raises InvalidInput for a token that would go there unprotected."""
    if settings.token_file is None:
        return None
    if settings.tls_ca is None and not settings.insecure and not is_loopback(host_of(address)):
        raise InvalidInput(
            f"token_file: the token would go to {address} in plain text; set tls_ca, "
            "or `insecure` where nobody can listen in"
        )
    return read_token(settings.token_file)


def server_credentials(settings: ServiceSettings) -> grpc.ServerCredentials | None:
    """For listening; None: plain text. Raises InvalidInput naming the setting."""
    pair = _pair(settings)
    if pair is None:
        if settings.tls_client_ca is not None:
            raise InvalidInput("tls_client_ca: certificates are asked for over TLS only; set tls_cert and tls_key")
        return None
    if settings.tls_client_ca is None:
        return grpc.ssl_server_credentials([pair])
    authorities = read_authorities("tls_client_ca", settings.tls_client_ca)
    return grpc.ssl_server_credentials([pair], authorities, require_client_auth=True)


def channel_credentials(settings: SecuritySettings) -> grpc.ChannelCredentials | None:
    """For connecting; None: plain text. Raises InvalidInput naming the setting."""
    pair = _pair(settings)
    if settings.tls_ca is None:
        if pair is not None and isinstance(settings, ClientSettings):
            raise InvalidInput("tls_cert: is shown over TLS only; set tls_ca, the CA of the services")
        return None
    authorities = read_authorities("tls_ca", settings.tls_ca)
    return grpc.ssl_channel_credentials(authorities, *(pair or ()))


def service_token(settings: ServiceSettings) -> str | None:
    """What calls must carry; None: nothing. Raises InvalidInput naming token_file."""
    return read_token(settings.token_file) if settings.token_file is not None else None


def metrics_host(settings: ServiceSettings) -> str:
    """Where metrics may listen, which are plain HTTP for everybody."""
    return settings.host if settings.insecure or is_loopback(settings.host) else LOOPBACK


def security_words(settings: ServiceSettings) -> str:
    """What a service asks of those who connect, for its log."""
    words = {"TLS": settings.tls_cert, "client certificates": settings.tls_client_ca, "token": settings.token_file}
    return ", ".join(word for word, path in words.items() if path is not None) or "none"


def _pair(settings: SecuritySettings) -> tuple[bytes, bytes] | None:
    if settings.tls_cert is None and settings.tls_key is None:
        return None
    if settings.tls_key is None:
        raise InvalidInput("tls_key: not set, but tls_cert is; they go together")
    if settings.tls_cert is None:
        raise InvalidInput("tls_cert: not set, but tls_key is; they go together")
    return read_pair(settings.tls_cert, settings.tls_key, SERVER if isinstance(settings, ServiceSettings) else CLIENT)
