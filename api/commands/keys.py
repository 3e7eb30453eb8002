"""`python -m api keys`: creates, lists, rotates and revokes API keys in the key file."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, NoReturn, TypeVar

import msgspec
import typer

from api.auth.api_keys import ApiKeys, InvalidKeys, Key, Scope, new_key
from api.auth.key_file import change_keys, read_keys
from api.settings import KeySettings
from schemas.config.settings import from_environment

app = typer.Typer(
    no_args_is_help=True, help="Manage API keys. A running service loads changes of the file within two seconds."
)

T = TypeVar("T")
File = Annotated[
    Path | None,
    typer.Option("--file", "-f", show_default="API_KEYS_FILE", help="the key file", dir_okay=False),
]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="id of the key, as shown by list")]
MAX_DAYS: Final = 36_500.0


@app.command()
def create(
    name: Annotated[str, typer.Option(help="name of the key's holder, as shown by list")],
    scope: Annotated[list[Scope], typer.Option(help="read: all queries; ingest: send readings; can be repeated")],
    devices: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PREFIX", help="with ingest: only readings of device ids with this prefix; can be repeated"
        ),
    ] = None,
    expires_in_days: Annotated[float | None, typer.Option(min=0, max=MAX_DAYS, help="unset: never")] = None,
    file: File = None,
) -> None:
    """Create a key. It is printed to stdout once; the file stores only its hash."""
    now = datetime.now(UTC).replace(microsecond=0)
    expires = now + timedelta(days=expires_in_days) if expires_in_days is not None else None
    path = _path(file)
    secret, key = _exit_on_invalid(lambda: new_key(name, scope, created=now, devices=devices or None, expires=expires))
    is_new = not path.exists()
    _exit_on_invalid(lambda: change_keys(path, lambda keys: _with(keys, key)))
    if is_new:
        _report(f"{path} was created; only you can read it: run the service as the same user, or change its owner")
    _print_secret(secret, key)


@app.command("list")
def list_keys(file: File = None) -> None:
    """List all keys, without their secrets, which are not stored."""
    keys = _exit_on_invalid(lambda: read_keys(_path(file)))
    now = datetime.now(UTC)
    for key in sorted(keys.by_id.values(), key=lambda each: (each.created, each.id)):
        expiry = (
            f"{'expired' if key.expired(now) else 'until'} {key.expires:%Y-%m-%dT%H:%M:%SZ}" if key.expires else "-"
        )
        devices = ",".join(key.devices) if key.devices else "-"
        columns = (key.id, ",".join(key.scopes), devices, f"{key.created:%Y-%m-%dT%H:%M:%SZ}", expiry, key.name)
        typer.echo("\t".join(columns))
    _report(f"{len(keys.by_id)} keys: id, scopes, devices, created, expires, name")


@app.command()
def rotate(
    key_id: KeyId,
    overlap_hours: Annotated[
        float, typer.Option(min=0, max=MAX_DAYS * 24, help="how long the old key stays valid; 0: it expires at once")
    ] = 24,
    file: File = None,
) -> None:
    """Replace a key by a new one with the same rights. The old key expires, and the new one is printed once."""
    now = datetime.now(UTC).replace(microsecond=0)
    created: list[tuple[str, Key]] = []
    end = now + timedelta(hours=overlap_hours)

    def change(keys: ApiKeys) -> ApiKeys:
        old = _find(keys, key_id)
        if old.expired(now):
            raise InvalidKeys(f"{key_id} has already expired; create a new key with python -m api keys create")
        created.append(new_key(old.name, old.scopes, created=now, devices=old.devices, expires=old.expires))
        return _with(keys, msgspec.structs.replace(old, expires=min(end, old.expires or end)), created[0][1])

    _exit_on_invalid(lambda: change_keys(_path(file), change))
    _print_secret(*created[0])
    _report(
        f"{key_id} expires at {end:%Y-%m-%dT%H:%M:%SZ} at the latest; to end it now: python -m api keys revoke {key_id}"
    )


@app.command()
def revoke(
    key_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="ids of keys")], file: File = None
) -> None:
    """Remove keys. Requests with them are rejected within two seconds."""

    def change(keys: ApiKeys) -> ApiKeys:
        for key_id in key_ids:
            _find(keys, key_id)
        return ApiKeys({key_id: key for key_id, key in keys.by_id.items() if key_id not in key_ids})

    _exit_on_invalid(lambda: change_keys(_path(file), change))
    _report(f"revoked: {', '.join(key_ids)}")


def _path(file: Path | None) -> Path:
    path = file or from_environment(KeySettings).api_keys_file
    if path is None:
        _fail("no key file given: use --file FILE, or set API_KEYS_FILE")
    return path


def _with(keys: ApiKeys, *changed: Key) -> ApiKeys:
    return ApiKeys({**keys.by_id, **{key.id: key for key in changed}})


def _find(keys: ApiKeys, key_id: str) -> Key:
    """The key with an id.

    Raises:
        InvalidKeys: there is none. The message leaves the id out: it may be a whole key, pasted by mistake.
    """
    if key_id not in keys.by_id:
        raise InvalidKeys("there is no key with that id; to see the ids: python -m api keys list")
    return keys.by_id[key_id]


def _print_secret(secret: str, key: Key) -> None:
    _report(
        f"key {key.id} for {key.name}, scopes: {', '.join(key.scopes)}. Store it like a password; it is not shown again:"
    )
    typer.echo(secret)


def _exit_on_invalid(action: Callable[[], T]) -> T:
    try:
        return action()
    except InvalidKeys as error:
        _fail(str(error))


def _report(text: str) -> None:
    typer.echo(text, err=True)


def _fail(message: str) -> NoReturn:
    _report(message)
    raise typer.Exit(1)
