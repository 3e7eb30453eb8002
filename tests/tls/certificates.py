"""PEM files of a test: a certificate authority, a server certificate, certificates of clients, and another authority."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key


@dataclass(frozen=True, slots=True)
class Certificates:
    """Paths of the PEM files. The server certificate is valid for `localhost` only."""

    authority: Path
    other_authority: Path  # signed none of the certificates here but those of `foreign_client`
    certificate: Path
    key: Path
    signer: trustme.CA
    other_signer: trustme.CA

    @property
    def key_and_certificate(self) -> Path:
        """Both in one file, as Kafka requires."""
        return self.key.with_name("key_and_certificate.pem")

    def client(self, name: str) -> tuple[Path, Path]:
        """A new certificate with the CN `name`, and its key; it replaces the one before."""
        return self._issue(self.signer, name)

    def foreign_client(self, name: str) -> tuple[Path, Path]:
        """The same, signed by the other authority; it replaces the one before as well."""
        return self._issue(self.other_signer, name)

    def _issue(self, signer: trustme.CA, name: str) -> tuple[Path, Path]:
        issued = signer.issue_cert(f"{name}.client", common_name=name)  # Java rejects a certificate without a name
        certificate, key = (self.key.with_name(f"client-{name}-{part}.pem") for part in ("certificate", "key"))
        for file, content in ((key, issued.private_key_pem.bytes()), (certificate, issued.cert_chain_pems[0].bytes())):
            new = file.with_suffix(".new")
            new.touch(mode=0o600)
            new.write_bytes(content)
            new.replace(file)
        return certificate, key


def create_certificates(directory: Path) -> Certificates:
    """Creates the files in a directory."""
    authority, other_authority = trustme.CA(), trustme.CA()
    files = Certificates(
        authority=directory / "authority.pem",
        other_authority=directory / "other_authority.pem",
        certificate=directory / "certificate.pem",
        key=directory / "key.pem",
        signer=authority,
        other_signer=other_authority,
    )
    authority.cert_pem.write_to_path(files.authority)
    other_authority.cert_pem.write_to_path(files.other_authority)
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
