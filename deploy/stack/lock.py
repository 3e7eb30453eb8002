"""`python -m deploy.stack.lock [FOLDER...]`: resolves jgo.toml anew and writes jgo.lock.toml with the checksum of every jar."""

import sys
from pathlib import Path

from jgo.env._lockfile import LockFile, compute_spec_hash
from jgo.env._spec import EnvironmentSpec
from jgo.maven import Dependency, MavenContext

from deploy.stack.jars import CACHE, LOCK


def lock(folder: Path) -> None:
    """Resolve what the folder's jgo.toml asks for and write down every jar that comes with it."""
    asked_for = folder / "jgo.toml"
    spec = EnvironmentSpec.load(asked_for)
    context = MavenContext(repo_cache=CACHE)
    asked = [_dependency(context, coordinate) for coordinate in spec.coordinates]
    resolved, brought = context.resolver.resolve(asked)
    locked = LockFile.from_resolved_dependencies(
        sorted(
            {str(each.artifact): each for each in (*resolved, *brought)}.values(), key=lambda each: str(each.artifact)
        ),
        environment_name=spec.name,
        spec_hash=compute_spec_hash(asked_for),
    )
    locked.save(folder / LOCK.name)


def _dependency(context: MavenContext, coordinate: str) -> Dependency:
    """A `group:artifact:version`; with a `!` behind it, its parent's opinion of other libraries' versions does not count."""
    group, artifact, version = coordinate.removesuffix("!").split(":")
    return Dependency(context.project(group, artifact).at_version(version).artifact(), raw=coordinate.endswith("!"))


if __name__ == "__main__":
    for each in [Path(argument) for argument in sys.argv[1:]] or [LOCK.parent]:
        lock(each)
