"""The command `python -m deploy.stack.lock [FOLDER...]`: jgo.toml -> jgo.lock.toml with the checksum of every jar."""

import sys
from pathlib import Path

from jgo.env._lockfile import LockFile, compute_spec_hash
from jgo.env._spec import EnvironmentSpec
from jgo.maven import Dependency, MavenContext

from deploy.stack.jars import CACHE, LOCK


def lock(folder: Path) -> None:
    """Resolves the folder's jgo.toml and writes all jars it needs, transitive ones included, to jgo.lock.toml."""
    spec_file = folder / "jgo.toml"
    spec = EnvironmentSpec.load(spec_file)
    context = MavenContext(repo_cache=CACHE)
    requested = [_dependency(context, coordinate) for coordinate in spec.coordinates]
    resolved, transitive = context.resolver.resolve(requested)
    locked = LockFile.from_resolved_dependencies(
        sorted(
            {str(each.artifact): each for each in (*resolved, *transitive)}.values(),
            key=lambda each: str(each.artifact),
        ),
        environment_name=spec.name,
        spec_hash=compute_spec_hash(spec_file),
    )
    locked.save(folder / LOCK.name)


def _dependency(context: MavenContext, coordinate: str) -> Dependency:
    """The dependency of `group:artifact:version`. A trailing `!` ignores the library versions that its parent POM manages."""
    group, artifact, version = coordinate.removesuffix("!").split(":")
    return Dependency(context.project(group, artifact).at_version(version).artifact(), raw=coordinate.endswith("!"))


if __name__ == "__main__":
    for each in [Path(argument) for argument in sys.argv[1:]] or [LOCK.parent]:
        lock(each)
