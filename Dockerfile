# One image for every role: python -m consumer (the default), python -m api, python -m sql migrate | maintain | ...
# Not run: no container engine was available. The base image is pinned by version; pin it by digest (python:...@sha256:...) where you
# can look the digest up. All packages are pinned by the hashes of requirements.lock.
ARG PYTHON_IMAGE=python:3.12.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
COPY requirements.lock /tmp/requirements.lock
# Wheels only: nothing is compiled, so the image needs no compiler.
RUN /opt/venv/bin/pip install --only-binary :all: --no-deps --require-hashes -r /tmp/requirements.lock \
    && /opt/venv/bin/pip uninstall --yes pip

FROM ${PYTHON_IMAGE}
# No process writes to the file system (logs go to stdout), so it can be read-only.
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN groupadd --gid 10001 energy \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /app --shell /usr/sbin/nologin energy \
    # a volume that is mounted here inherits this owner
    && install --directory --owner 10001 --group 10001 /var/lib/energy/archive
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY schemas schemas
COPY sql sql
COPY consumer consumer
COPY api api
RUN PYTHONDONTWRITEBYTECODE= python -m compileall -q schemas sql consumer api
# Numeric, so that Kubernetes can verify that it is not root.
USER 10001:10001
# The consumer's health check. docker-compose.yml has those of the other roles; Kubernetes uses its own probes.
EXPOSE 9464 3000 9465
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
CMD ["python", "-m", "consumer"]
