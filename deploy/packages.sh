#!/bin/sh
# packages.sh LOCK: installs the packages of a lock file into the environment of the image (Dockerfile). Wheels only: nothing is
# compiled, so the image needs no compiler. Left out is what no process of ours uses: debugging symbols, colours of --help
# (TYPER_USE_RICH=0), and of plotly all but its JavaScript.
set -eu
unused='rich|pygments|markdown-it-py|mdurl|narwhals'
awk "/^[a-z]/ { unused = /^($unused)==/ } !unused" "$1" >/tmp/packages.lock
/opt/pip/bin/pip --python /opt/venv/bin/python install --quiet --only-binary :all: --no-deps --require-hashes --requirement /tmp/packages.lock
find /opt/venv -name '*.so' -exec strip --strip-unneeded {} +
for plotly in /opt/venv/lib/python*/site-packages/plotly; do
    [ -d "$plotly" ] || continue
    cp "$plotly/package_data/plotly.min.js" /tmp/
    rm -rf "$plotly" "${plotly%/*}/_plotly_utils"
    mkdir -p "$plotly/package_data"
    touch "$plotly/__init__.py"
    mv /tmp/plotly.min.js "$plotly/package_data/"
done
