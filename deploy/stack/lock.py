"""`python -m deploy.stack.lock`: resolves jgo.toml anew and writes jgo.lock.toml with the checksum of every jar."""

from pathlib import Path

from jgo.env._lockfile import LockFile, compute_spec_hash
from jgo.env._spec import EnvironmentSpec
from jgo.maven import Dependency, MavenContext

from deploy.stack.jars import CACHE, LOCK

SPEC = Path(__file__).with_name("jgo.toml")


def lock() -> None:
    """Resolve what jgo.toml asks for and write down every jar that comes with it."""
    spec = EnvironmentSpec.load(SPEC)
    context = MavenContext(repo_cache=CACHE)
    asked = [_dependency(context, coordinate) for coordinate in spec.coordinates]
    resolved, brought = context.resolver.resolve(asked)
    locked = LockFile.from_resolved_dependencies(
        sorted(
            {str(each.artifact): each for each in (*resolved, *brought)}.values(), key=lambda each: str(each.artifact)
        ),
        environment_name=spec.name,
        spec_hash=compute_spec_hash(SPEC),
    )
    locked.save(LOCK)


def _dependency(context: MavenContext, coordinate: str) -> Dependency:
    """A `group:artifact:version`; with a `!` behind it, its parent's opinion of other libraries' versions does not count."""
    group, artifact, version = coordinate.removesuffix("!").split(":")
    return Dependency(context.project(group, artifact).at_version(version).artifact(), raw=coordinate.endswith("!"))


if __name__ == "__main__":
    lock()
