# The API, the worker and the command line. No servers in it: NATS, PostgreSQL and Valkey run elsewhere (compose.yaml).
FROM python:3.11-slim

RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin agg \
    && install --directory --owner agg --group agg --mode 700 /data
WORKDIR /app

COPY requirements-server.lock ./
RUN pip install --no-cache-dir --root-user-action=ignore --require-hashes -r requirements-server.lock

COPY domain domain
COPY commands commands
COPY projections projections
COPY adapters adapters
COPY migrations migrations
COPY api api
RUN python -m compileall -q . \
    && printf '#!/bin/sh\nexec python -m api.cli "$@"\n' > /usr/local/bin/agg \
    && chmod 755 /usr/local/bin/agg

ENV PYTHONPATH=/app PYTHONUNBUFFERED=1 AGG_DATA_DIR=/data AGG_SERVER_HOST=0.0.0.0 AGG_LOG_FORMAT=json
USER 10001
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["agg"]
CMD ["serve"]
