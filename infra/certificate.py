"""Self-made certificates for a web tier that is reached by its address alone, without a domain name."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# The longest that Apple's systems accept of a certificate that a person has chosen to trust.
VALID_DAYS = 825
# From so many days before its end a certificate is replaced.
RENEWAL_DAYS = 90


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its private key.

    Attributes:
        pem: key and certificate, as servers take them.
        public_pem: the certificate alone, as clients take it.
        fingerprint: SHA-256 of the certificate, as browsers show it.
    """

    pem: bytes
    public_pem: bytes
    fingerprint: str
    not_after: datetime

    def serves(self, address: str, now: datetime) -> bool:
        """Whether it is for this address, and not to be replaced yet."""
        names = _certificate(self.public_pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        addresses = names.get_values_for_type(x509.IPAddress)
        return ipaddress.ip_address(address) in addresses and self.not_after - timedelta(days=RENEWAL_DAYS) > now


def make_certificate(address: str, now: datetime) -> Certificate:
    """Make a certificate for an IP address, valid for `VALID_DAYS` and signed with its own key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Elastic Image Classifier")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # The instance's clock may be behind.
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        # OpenSSL trusts a server's own certificate only if it may be its authority, too.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return read_certificate(private + made.public_bytes(serialization.Encoding.PEM))


def read_certificate(pem: bytes) -> Certificate:
    """Read a certificate with its key, as `make_certificate` makes it.

    Raises:
        ValueError: it has another form.
    """
    made = _certificate(pem)
    digest = made.fingerprint(hashes.SHA256()).hex().upper()
    fingerprint = ":".join(digest[index : index + 2] for index in range(0, len(digest), 2))
    return Certificate(pem, made.public_bytes(serialization.Encoding.PEM), fingerprint, made.not_valid_after_utc)


def _certificate(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)
