"""An authority, the certificate of a server, and an authority that signed nothing: PEM files, as an operator has them."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key


@dataclass(frozen=True, slots=True)
class Certificates:
    """Where they lie. The server's are for `localhost` and no other name."""

    authority: Path
    stranger: Path  # an authority that nobody here was signed by
    certificate: Path
    key: Path

    @property
    def both(self) -> Path:
        """Key and certificate in one file, as Kafka wants them."""
        return self.key.with_name("both.pem")


def made_in(directory: Path) -> Certificates:
    """New ones, valid for `localhost`."""
    made = Certificates(*(directory / f"{name}.pem" for name in ("authority", "stranger", "certificate", "key")))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(made.authority)
    trustme.CA().cert_pem.write_to_path(made.stranger)
    server = authority.issue_cert("localhost")
    for blob in server.cert_chain_pems:
        blob.write_to_path(made.certificate, append=made.certificate.exists())
    key = load_pem_private_key(server.private_key_pem.bytes(), None)
    made.key.touch(mode=0o600)
    made.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    made.both.touch(mode=0o600)
    made.both.write_bytes(made.key.read_bytes() + made.certificate.read_bytes())
    ssl.create_default_context(cafile=made.authority).load_cert_chain(made.certificate, made.key)
    return made
