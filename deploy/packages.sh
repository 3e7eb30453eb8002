#!/bin/sh
# packages.sh LOCK: installs the packages of a lock file into the environment of the image (Dockerfile). Wheels only: nothing is
# compiled, so the image needs no compiler. Of plotly only its JavaScript is used, and plotly is larger than all of FastAPI.
set -eu
/opt/pip/bin/pip --python /opt/venv/bin/python install --quiet --only-binary :all: --no-deps --require-hashes --requirement "$1"
for plotly in /opt/venv/lib/python*/site-packages/plotly; do
    [ -d "$plotly" ] || continue
    cp "$plotly/package_data/plotly.min.js" /tmp/
    rm -r "$plotly"
    mkdir -p "$plotly/package_data"
    touch "$plotly/__init__.py"
    mv /tmp/plotly.min.js "$plotly/package_data/"
done
