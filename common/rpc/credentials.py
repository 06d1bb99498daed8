"""Security settings: the credentials of servers and channels that follow from them, and the checks that they must pass.

A service listens on loopback only, or requires TLS and a token, or has the setting `insecure`. Any other combination is
refused. Certificates and tokens are read once, at start; after a change the service must be restarted.
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
from gocom.common.rpc.pem_files import CLIENT, SERVER, read_authorities, read_key_and_certificate
from gocom.common.settings import ClientSettings, SecuritySettings, ServiceSettings

log = get_logger("security")

LOOPBACK = "127.0.0.1"


def check_service(settings: ServiceSettings) -> None:
    """Check the security settings of a service and the files that they name.

    Raises:
        InvalidInput: a setting is invalid or its file cannot be used; the message names the setting.
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
            # This is not refused, because secrets that are mounted into containers have this mode.
            log.warning(f"{field} can be read by every user of this machine", path=str(path))


def check_peers(settings: SecuritySettings | None, addresses: Sequence[str | None]) -> None:
    """Check the security settings, and the files that they name, for connecting to peers.

    Args:
        settings: security settings of this end; None: nothing to check.
        addresses: host:port of each peer; None: a peer without an address, which is skipped.

    Raises:
        InvalidInput: a setting is invalid or its file cannot be used; the message names the setting.
    """
    if settings is None:
        return
    channel_credentials(settings)
    for address in addresses:
        if address is not None:
            peer_token(settings, address)


def peer_token(settings: SecuritySettings, address: str) -> str | None:
    """Return the token that calls to host:port carry; None: no token.

    Raises:
        InvalidInput: the token would be sent unprotected, or its file cannot be used.
    """
    if settings.token_file is None:
        return None
    if settings.tls_ca is None and not settings.insecure and not is_loopback(host_of(address)):
        raise InvalidInput(
            f"token_file: the token would go to {address} in plain text; set tls_ca, "
            "or `insecure` where nobody can listen in"
        )
    return read_token(settings.token_file)


def server_credentials(settings: ServiceSettings) -> grpc.ServerCredentials | None:
    """Return the credentials for listening; None: plain text.

    Raises:
        InvalidInput: a setting or its file is invalid; the message names the setting.
    """
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
    """Return the credentials for connecting; None: plain text.

    Raises:
        InvalidInput: a setting or its file is invalid; the message names the setting.
    """
    pair = _pair(settings)
    if settings.tls_ca is None:
        if pair is not None and isinstance(settings, ClientSettings):
            raise InvalidInput("tls_cert: is shown over TLS only; set tls_ca, the CA of the services")
        return None
    authorities = read_authorities("tls_ca", settings.tls_ca)
    return grpc.ssl_channel_credentials(authorities, *(pair or ()))


def service_token(settings: ServiceSettings) -> str | None:
    """Return the token that calls must carry; None: no token. Raise InvalidInput if its file cannot be used."""
    return read_token(settings.token_file) if settings.token_file is not None else None


def metrics_host(settings: ServiceSettings) -> str:
    """Return the host on which metrics may listen: loopback unless `insecure`, as they are unprotected plain HTTP."""
    return settings.host if settings.insecure or is_loopback(settings.host) else LOOPBACK


def security_summary(settings: ServiceSettings) -> str:
    """Return a phrase for the log that says what a service requires of its clients, or "none"."""
    files = {"TLS": settings.tls_cert, "client certificates": settings.tls_client_ca, "token": settings.token_file}
    return ", ".join(name for name, path in files.items() if path is not None) or "none"


def _pair(settings: SecuritySettings) -> tuple[bytes, bytes] | None:
    if settings.tls_cert is None and settings.tls_key is None:
        return None
    if settings.tls_key is None:
        raise InvalidInput("tls_key: not set, but tls_cert is; they go together")
    if settings.tls_cert is None:
        raise InvalidInput("tls_cert: not set, but tls_key is; they go together")
    use = SERVER if isinstance(settings, ServiceSettings) else CLIENT
    return read_key_and_certificate(settings.tls_cert, settings.tls_key, use)
