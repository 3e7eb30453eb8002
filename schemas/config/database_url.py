"""The URL of a database, checked before it is used: what the driver can never accept would otherwise be retried without end.

Messages quote no part of the URL, because what a parser takes for a host or a parameter may be part of a password.
"""

from pathlib import Path
from typing import Annotated, Final
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, SecretStr

FORM: Final = (
    "must have the form postgresql://user:password@host:port/database; "
    "in a password, write @ : / ? # [ ] % as %40 %3A %2F %3F %23 %5B %5D %25"
)
# Parameters of libpq that the driver implements. It would send any other to the server, as the setting of a session.
PARAMETERS: Final = {
    "host", "port", "user", "password", "dbname", "database", "passfile", "service", "target_session_attrs", "options",
    "application_name", "krbsrvname", "gsslib", "sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword",
    "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version",
}  # fmt: skip
NOT_IMPLEMENTED: Final = {
    "channel_binding", "client_encoding", "connect_timeout", "fallback_application_name", "gssdelegation", "gssencmode",
    "hostaddr", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "load_balance_hosts",
    "max_protocol_version", "min_protocol_version", "replication", "require_auth", "requirepeer", "requiressl",
    "scram_client_key", "scram_server_key", "servicefile", "sslcertmode", "sslcompression", "sslcrldir",
    "sslkeylogfile", "sslsni", "tcp_user_timeout",
}  # fmt: skip
VALUES: Final = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
}
FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")


def check_database_url(url: SecretStr) -> SecretStr:
    """The URL unchanged.

    Raises:
        ValueError: the driver cannot accept it. The message follows the name of the setting.
    """
    try:
        parts = urlsplit(url.get_secret_value())
        for host in parts.netloc.rpartition("@")[2].split(","):
            _ = urlsplit(f"//{host}").port
        parameters = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)) if parts.query else {}
        valid = parts.scheme in ("postgres", "postgresql")
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(FORM)
    _check_parameters(parameters)
    return url


def _check_parameters(parameters: dict[str, str]) -> None:
    if unsupported := sorted(parameters.keys() & NOT_IMPLEMENTED):
        raise ValueError(f"the driver does not implement the parameters {', '.join(unsupported)}; remove them")
    if not parameters.keys() <= PARAMETERS:
        raise ValueError(
            f"has an unknown parameter; known are {', '.join(sorted(PARAMETERS))}; settings of the server are given as "
            "options=-c%20name%3Dvalue"
        )
    for name, allowed in VALUES.items():
        if parameters.get(name, allowed[0]) not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}")
    for name in FILES:
        if name in parameters and not Path(parameters[name]).is_file():
            raise ValueError(f"the file of {name} does not exist")


DatabaseUrl = Annotated[SecretStr, AfterValidator(check_database_url)]
