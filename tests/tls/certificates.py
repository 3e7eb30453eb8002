"""PEM files of a test: a certificate authority, a server certificate, and an authority that signed nothing."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key


@dataclass(frozen=True, slots=True)
class Certificates:
    """Paths of the PEM files. The server certificate is valid for `localhost` only."""

    authority: Path
    other_authority: Path  # signed none of the certificates here
    certificate: Path
    key: Path

    @property
    def key_and_certificate(self) -> Path:
        """Both in one file, as Kafka requires."""
        return self.key.with_name("key_and_certificate.pem")


def create_certificates(directory: Path) -> Certificates:
    """Creates the files in a directory."""
    names = ("authority", "other_authority", "certificate", "key")
    files = Certificates(*(directory / f"{name}.pem" for name in names))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(files.authority)
    trustme.CA().cert_pem.write_to_path(files.other_authority)
    server = authority.issue_cert("localhost")
    for blob in server.cert_chain_pems:
        blob.write_to_path(files.certificate, append=files.certificate.exists())
    key = load_pem_private_key(server.private_key_pem.bytes(), None)
    files.key.touch(mode=0o600)
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    files.key_and_certificate.touch(mode=0o600)
    files.key_and_certificate.write_bytes(files.key.read_bytes() + files.certificate.read_bytes())
    ssl.create_default_context(cafile=files.authority).load_cert_chain(files.certificate, files.key)
    return files
