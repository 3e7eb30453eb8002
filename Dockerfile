# One image for all three kinds of process: python -m sql migrate, python -m consumer, python -m api. Not tried: no engine runs
# where this was written.
FROM python:3.12-slim
WORKDIR /app
COPY requirements.lock .
RUN pip install --no-cache-dir --no-deps --require-hashes -r requirements.lock
COPY schemas schemas
COPY sql sql
COPY consumer consumer
COPY api api
USER nobody
ENV PYTHONUNBUFFERED=1
CMD ["python", "-m", "consumer"]
