# One image for every node: no root, nothing written outside /data, one port for people and apps
# (8080) and one for health and figures (9000).
FROM python:3.13-slim AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE .constraints.txt ./
COPY idp idp
COPY templates templates
COPY migrations migrations
RUN python -m venv /opt/idp \
 && /opt/idp/bin/pip install --no-cache-dir '.[otel,postgres,redis]' --constraint .constraints.txt

FROM python:3.13-slim
RUN useradd --uid 10001 --no-create-home --home-dir /data idp \
 && install --directory --owner idp --mode 0700 /data
COPY --from=build /opt/idp /opt/idp
ENV PATH=/opt/idp/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    IDP_HOST=0.0.0.0 \
    IDP_PORT=8080 \
    IDP_MANAGEMENT__HOST=0.0.0.0 \
    IDP_MANAGEMENT__PORT=9000 \
    IDP_DATABASE_URL=sqlite:////data/idp.db \
    IDP_LOG_FORMAT=json
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8080 9000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["idp", "healthcheck"]
# Nodes that start together do not both migrate: one holds the lock, the others find it done.
CMD ["idp", "serve", "--upgrade"]
