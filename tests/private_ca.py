"""A certificate authority for tests, and certificates of it, good ones and bad ones."""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOSTS = ("localhost", "127.0.0.1", "::1")
USAGES = {"serverAuth": ExtendedKeyUsageOID.SERVER_AUTH, "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH}


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(host):
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def write_key(path, key, password=None):
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    path.chmod(0o600)
    return path


class PrivateCA:
    """Certificates signed by one key, as PEM files in a folder.

    Attributes:
        pem: path of the CA's own certificate.
    """

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder, self.name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(name, self._key, (-1, 10), x509.BasicConstraints(ca=True, path_length=None))
        self.pem = self._write(name, certificate)

    def issue(self, name, hosts=HOSTS, days=(-1, 10), usages=tuple(USAGES), password=None):
        """-> paths of a certificate, valid from days[0] to days[1] from now, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([_alternative(host) for host in hosts])
        usage = x509.ExtendedKeyUsage([USAGES[usage] for usage in usages])
        return (
            self._write(name, self._sign(name, key, days, names, usage)),
            write_key(self.folder / f"{name}.key", key, password),
        )

    def _sign(self, name, key, days, *extensions):
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(
            issuer_name=_name(self.name), subject_name=_name(name), public_key=key.public_key(),
            serial_number=x509.random_serial_number(), not_valid_before=now + datetime.timedelta(days[0]),
            not_valid_after=now + datetime.timedelta(days[1]),
        )  # fmt: skip
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, name, certificate):
        path = self.folder / f"{name}.pem"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path
