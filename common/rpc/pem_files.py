"""PEM files, looked at before gRPC gets them: it says only that a handshake failed, and not why.

OpenSSL of the standard library does the looking. Whether a certificate is valid today it tells only in a handshake, so
there is one, in memory.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from gocom.common.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Use:
    """What a certificate is for: who shows it, who checks it, and the usage it must name, if it names any."""

    shown: int
    checked: int
    extended_usage: str


SERVER = Use(ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT, "serverAuth")
CLIENT = Use(ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER, "clientAuth")


def read_file(field: str, path: Path) -> bytes:
    """Contents of a file. Raises InvalidInput naming the field for one that cannot be read, or is empty."""
    if path == Path():  # what becomes of an empty variable
        raise InvalidInput(f"{field}: names no file; leave it out to do without")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{field}: cannot read {str(path)!r}: {error.strerror or error}") from None
    if not data.strip():
        raise InvalidInput(f"{field}: {str(path)!r} is empty")
    return data


def read_authorities(field: str, path: Path) -> bytes:
    """PEM certificates to trust. Raises InvalidInput naming the field for a file that has none."""
    data = read_file(field, path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=data.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError):
        raise InvalidInput(f"{field}: {str(path)!r} has no PEM certificate that can be read") from None
    return data


def read_pair(cert: Path, key: Path, use: Use) -> tuple[bytes, bytes]:
    """PEM of a private key, and of its certificate with what leads to the CA.

    Raises:
        InvalidInput: naming tls_cert or tls_key, for files that cannot be read or do not belong together, and for a
            certificate that is not valid now, or not for this use.
    """
    chain, secret = read_file("tls_cert", cert), read_file("tls_key", key)
    authority = ssl.SSLContext(use.checked)
    authority.check_hostname = False
    authority.verify_mode = ssl.CERT_REQUIRED
    authority.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # trust it without its CA, which may be elsewhere
    try:
        authority.load_verify_locations(cadata=chain.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError):
        raise InvalidInput(f"tls_cert: {str(cert)!r} has no PEM certificate that can be read") from None
    holder = ssl.SSLContext(use.shown)
    holder.check_hostname = False
    holder.verify_mode = ssl.CERT_NONE
    try:
        holder.load_cert_chain(cert, key, password=_no_password)
    except ssl.SSLError as error:
        raise InvalidInput(_pair_trouble(error, cert, key)) from None
    if use is CLIENT:
        # The side that answers needs a certificate of its own; any will do, and this one is at hand.
        authority.load_cert_chain(cert, key, password=_no_password)
    try:
        _handshake(holder, authority, use)
    except ssl.SSLCertVerificationError as error:
        why = error.verify_message
        if "purpose" in why:
            why += f"; its extendedKeyUsage lacks {use.extended_usage}"
        raise InvalidInput(f"tls_cert: {str(cert)!r}: {why}") from None
    except ssl.SSLError as error:
        raise InvalidInput(f"tls_cert: {str(cert)!r} cannot be used: {error.reason or error}") from None
    return secret, chain


def _no_password() -> str:
    raise InvalidInput("tls_key: is encrypted; services start unattended and need it without a passphrase")


def _pair_trouble(error: ssl.SSLError, cert: Path, key: Path) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"tls_key: {str(key)!r} is not the private key of the certificate in {str(cert)!r}"
    if error.reason and error.reason.startswith(("EE_", "CA_")):
        return f"tls_cert: {str(cert)!r} is too weak: {error.reason}"
    return f"tls_key: {str(key)!r} has no PEM private key that can be read"


def _handshake(holder: ssl.SSLContext, authority: ssl.SSLContext, use: Use) -> None:
    """Show the certificate to the one who checks it, in memory. Raises ssl.SSLError."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        holder.wrap_bio(back, there, server_side=use is SERVER),
        authority.wrap_bio(there, back, server_side=use is CLIENT),
    ]
    waiting = list(ends)
    while waiting:
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                continue
