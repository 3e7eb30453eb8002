"""`python -m api keys`: make, list, rotate and revoke API keys. It needs the file alone; nothing has to run."""

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

app = typer.Typer(no_args_is_help=True, help="API keys: a running service follows the file within two seconds.")

T = TypeVar("T")
File = Annotated[
    Path | None,
    typer.Option("--file", "-f", show_default="API_KEYS_FILE", help="the file of keys", dir_okay=False),
]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="of a key, as list shows it")]
LONGEST_DAYS: Final = 36_500.0


@app.command()
def create(
    name: Annotated[str, typer.Option(help="who gets it, as list will show it")],
    scope: Annotated[list[Scope], typer.Option(help="read: all answers; ingest: send readings; may be repeated")],
    devices: Annotated[
        list[str] | None,
        typer.Option(metavar="PREFIX", help="with ingest: only readings of ids that begin so; may be repeated"),
    ] = None,
    expires_in_days: Annotated[float | None, typer.Option(min=0, max=LONGEST_DAYS, help="unset: never")] = None,
    file: File = None,
) -> None:
    """Make a key. It is printed once, on stdout alone; the file keeps a hash."""
    now = datetime.now(UTC).replace(microsecond=0)
    expires = now + timedelta(days=expires_in_days) if expires_in_days is not None else None
    path = _path(file)
    made = _attempt(lambda: new_key(name, scope, created=now, devices=devices or None, expires=expires))
    is_new = not path.exists()
    _attempt(lambda: change_keys(path, lambda keys: _with(keys, made[1])))
    if is_new:
        _say(f"{path} is new, and only you may read it: run the service as the same user, or change its owner")
    _hand_over(*made)


@app.command("list")
def list_keys(file: File = None) -> None:
    """All keys, without their secrets, which nobody has."""
    keys = _attempt(lambda: read_keys(_path(file)))
    now = datetime.now(UTC)
    for key in sorted(keys.by_id.values(), key=lambda each: (each.created, each.id)):
        until = f"{'expired' if key.expired(now) else 'until'} {key.expires:%Y-%m-%dT%H:%M:%SZ}" if key.expires else "-"
        of = ",".join(key.devices) if key.devices else "-"
        typer.echo("\t".join((key.id, ",".join(key.scopes), of, f"{key.created:%Y-%m-%dT%H:%M:%SZ}", until, key.name)))
    _say(f"{len(keys.by_id)} keys: id, scopes, devices, created, expires, name")


@app.command()
def rotate(
    key_id: KeyId,
    overlap_hours: Annotated[
        float, typer.Option(min=0, max=LONGEST_DAYS * 24, help="how long the old key stays good; 0: not at all")
    ] = 24,
    file: File = None,
) -> None:
    """Make a key that may do the same, and let the old one expire. The new one is printed once."""
    now = datetime.now(UTC).replace(microsecond=0)
    made: list[tuple[str, Key]] = []
    end = now + timedelta(hours=overlap_hours)

    def change(keys: ApiKeys) -> ApiKeys:
        old = _known(keys, key_id)
        if old.expired(now):
            raise InvalidKeys(f"{key_id} has expired already; python -m api keys create makes another")
        made.append(new_key(old.name, old.scopes, created=now, devices=old.devices, expires=old.expires))
        return _with(keys, msgspec.structs.replace(old, expires=min(end, old.expires or end)), made[0][1])

    _attempt(lambda: change_keys(_path(file), change))
    _hand_over(*made[0])
    _say(
        f"{key_id} expires at {end:%Y-%m-%dT%H:%M:%SZ} at the latest; python -m api keys revoke {key_id} ends it sooner"
    )


@app.command()
def revoke(key_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="of keys")], file: File = None) -> None:
    """Remove keys: requests with them are refused within two seconds."""

    def change(keys: ApiKeys) -> ApiKeys:
        for key_id in key_ids:
            _known(keys, key_id)
        return ApiKeys({key_id: key for key_id, key in keys.by_id.items() if key_id not in key_ids})

    _attempt(lambda: change_keys(_path(file), change))
    _say(f"revoked: {', '.join(key_ids)}")


def _path(file: Path | None) -> Path:
    path = file or from_environment(KeySettings).api_keys_file
    if path is None:
        _fail("say which file: --file FILE, or API_KEYS_FILE")
    return path


def _with(keys: ApiKeys, *more: Key) -> ApiKeys:
    return ApiKeys({**keys.by_id, **{key.id: key for key in more}})


def _known(keys: ApiKeys, key_id: str) -> Key:
    if key_id not in keys.by_id:
        raise InvalidKeys("there is no key with that id; python -m api keys list shows those that are there")
    return keys.by_id[key_id]


def _hand_over(secret: str, key: Key) -> None:
    _say(f"key {key.id} for {key.name}: {', '.join(key.scopes)}. It is shown this once; keep it as a password:")
    typer.echo(secret)


def _attempt(action: Callable[[], T]) -> T:
    try:
        return action()
    except InvalidKeys as error:
        _fail(str(error))


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _fail(message: str) -> NoReturn:
    _say(message)
    raise typer.Exit(1)
