# Two images. Each command is a role: python -m consumer (the default), python -m api, python -m sql maintain | doctor | ...
#   docker build .                every role but those of the other image
#   docker build --target full .  also python -m sql migrate (dbmate), and the archive (pyarrow, for ARCHIVE_DIRECTORY)
# `make containers` builds and runs both. The base image is pinned by version; pin it by digest (python:...@sha256:...) where you can
# look the digest up. All packages are pinned by the hashes of the lock files.
ARG PYTHON_IMAGE=python:3.12.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# pip has an environment of its own, so that the one of the image has none. binutils has strip: some wheels carry debugging symbols.
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends binutils >/dev/null \
    && python -m venv /opt/pip && python -m venv --without-pip /opt/venv
COPY deploy/packages.sh /opt/packages.sh
COPY requirements-api.lock /tmp/
RUN /opt/packages.sh /tmp/requirements-api.lock

FROM packages AS full-packages
COPY requirements.lock /tmp/
RUN /opt/packages.sh /tmp/requirements.lock

FROM ${PYTHON_IMAGE} AS base
LABEL org.opencontainers.image.title="energy-ingestion-engine" \
      org.opencontainers.image.description="Fleet energy telemetry from Kafka into PostgreSQL, exactly once" \
      org.opencontainers.image.version="0.1.0"
# No process writes to the file system (logs go to stdout), so it can be read-only.
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TYPER_USE_RICH=0
RUN groupadd --gid 10001 energy \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /app --shell /usr/sbin/nologin energy \
    # a volume that is mounted here inherits this owner
    && install --directory --owner 10001 --group 10001 /var/lib/energy/archive \
    # The official image has no bytecode of the standard library. A process or health check would compile what it imports at each start.
    && python -m compileall -q -x '/tests?/' "$(python -c 'import os; print(os.path.dirname(os.__file__))')"
WORKDIR /app
# Numeric, so that Kubernetes can verify that it is not root.
USER 10001:10001
# The consumer's health check. docker-compose.yml has those of the other roles; Kubernetes uses its own probes.
EXPOSE 9464 3000 9465
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
CMD ["python", "-m", "consumer"]

FROM ${PYTHON_IMAGE} AS code
WORKDIR /app
COPY schemas schemas
COPY sql sql
COPY consumer consumer
COPY api api
RUN python -m compileall -q .

FROM base AS full
COPY --from=full-packages /opt/venv /opt/venv
COPY --from=code /app .

FROM base AS slim
COPY --from=packages /opt/venv /opt/venv
COPY --from=code /app .
