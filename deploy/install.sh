#!/usr/bin/env bash
# deploy/install.sh PYTHON LOCK: installs the packages of a lock file into the environment of PYTHON and prints one line.
#
# uv is used where it is on the PATH and would use the same index as pip. It does not read pip's configuration: on a machine whose
# index or way to it is configured for pip alone, pip is used. Both verify the hashes of the lock file and compile the modules, which
# halves the start of every process. If uv fails, pip tries again.
set -euo pipefail
python=$1 lock=$2

same_index() {
    [[ -n ${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-} || ! $("$python" -m pip config list) =~ index-url|no-index|find-links|proxy|cert ]]
}

tool=pip
if command -v uv >/dev/null && same_index; then tool=uv; fi
echo "Installing $(grep -c '^[a-z0-9].*==' "$lock") packages of $(basename "$lock") with $tool (once) ..." >&2
if [[ $tool == uv ]]; then
    if uv pip install --quiet --compile-bytecode --python "$python" --no-deps --require-hashes --requirement "$lock"; then exit 0; fi
    echo "uv failed; trying pip ..." >&2
fi
exec "$python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement "$lock"
