"""Reading and checking PEM files before gRPC uses them, since gRPC reports only that a handshake failed and not why.

The checks use OpenSSL through the standard library. OpenSSL tells only during a handshake whether a certificate is
valid today, so one is made in memory.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from gocom.common.errors import InvalidInput
from gocom.common.small_files import read_small_file


@dataclass(frozen=True, slots=True)
class CertificateUse:
    """The role in which a certificate is used.

    Attributes:
        holder_protocol: ssl.PROTOCOL_… of the side that presents the certificate.
        verifier_protocol: ssl.PROTOCOL_… of the side that verifies it.
        extended_usage: the usage that extendedKeyUsage must include if the certificate has this extension.
    """

    holder_protocol: int
    verifier_protocol: int
    extended_usage: str


SERVER = CertificateUse(ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT, "serverAuth")
CLIENT = CertificateUse(ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER, "clientAuth")


def read_file(field: str, path: Path) -> bytes:
    """Return the contents of a file. Raise InvalidInput, which names the field, if it cannot be read or is empty."""
    if path == Path():  # an empty environment variable becomes this path
        raise InvalidInput(f"{field}: names no file; leave it out to do without")
    try:
        data = read_small_file(path)
    except OSError as error:
        raise InvalidInput(f"{field}: cannot read {str(path)!r}: {error.strerror or error}") from None
    if not data.strip():
        raise InvalidInput(f"{field}: {str(path)!r} is empty")
    return data


def read_authorities(field: str, path: Path) -> bytes:
    """Return the PEM certificates to trust. Raise InvalidInput, which names the field, if the file has none."""
    data = read_file(field, path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=data.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError):
        raise InvalidInput(f"{field}: {str(path)!r} has no PEM certificate that can be read") from None
    return data


def read_key_and_certificate(cert: Path, key: Path, use: CertificateUse) -> tuple[bytes, bytes]:
    """Return (private key, certificate chain), both in PEM.

    Args:
        cert: file of the certificate, followed by the intermediate certificates up to its CA, if any.
        key: file of the private key.
        use: role in which the certificate will be used.

    Raises:
        InvalidInput: a file cannot be read, the two do not belong together, or the certificate is not valid now or not
            valid for this use. The message names tls_cert or tls_key.
    """
    chain, private_key = read_file("tls_cert", cert), read_file("tls_key", key)
    verifier = ssl.SSLContext(use.verifier_protocol)
    verifier.check_hostname = False
    verifier.verify_mode = ssl.CERT_REQUIRED
    # The certificate is trusted without its CA, which may be elsewhere.
    verifier.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        verifier.load_verify_locations(cadata=chain.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError):
        raise InvalidInput(f"tls_cert: {str(cert)!r} has no PEM certificate that can be read") from None
    holder = ssl.SSLContext(use.holder_protocol)
    holder.check_hostname = False
    holder.verify_mode = ssl.CERT_NONE
    try:
        holder.load_cert_chain(cert, key, password=_no_password)
    except ssl.SSLError as error:
        raise InvalidInput(_pair_error(error, cert, key)) from None
    if use is CLIENT:
        # The verifier is the TLS server here and needs a certificate of its own. Any will do, so it uses the same one.
        verifier.load_cert_chain(cert, key, password=_no_password)
    try:
        _handshake(holder, verifier, use)
    except ssl.SSLCertVerificationError as error:
        why = error.verify_message
        if "purpose" in why:
            why += f"; its extendedKeyUsage lacks {use.extended_usage}"
        raise InvalidInput(f"tls_cert: {str(cert)!r}: {why}") from None
    except ssl.SSLError as error:
        raise InvalidInput(f"tls_cert: {str(cert)!r} cannot be used: {error.reason or error}") from None
    return private_key, chain


def _no_password() -> str:
    raise InvalidInput("tls_key: is encrypted; services start unattended and need it without a passphrase")


def _pair_error(error: ssl.SSLError, cert: Path, key: Path) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"tls_key: {str(key)!r} is not the private key of the certificate in {str(cert)!r}"
    if error.reason and error.reason.startswith(("EE_", "CA_")):
        return f"tls_cert: {str(cert)!r} is too weak: {error.reason}"
    return f"tls_key: {str(key)!r} has no PEM private key that can be read"


def _handshake(holder: ssl.SSLContext, verifier: ssl.SSLContext, use: CertificateUse) -> None:
    """Make a handshake in memory between holder and verifier of a certificate. Raise ssl.SSLError if it fails."""
    to_verifier, to_holder = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        holder.wrap_bio(to_holder, to_verifier, server_side=use is SERVER),
        verifier.wrap_bio(to_verifier, to_holder, server_side=use is CLIENT),
    ]
    unfinished = list(ends)
    while unfinished:
        for end in list(unfinished):
            try:
                end.do_handshake()
                unfinished.remove(end)
            except ssl.SSLWantReadError:
                continue
