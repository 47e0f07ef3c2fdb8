# syntax=docker/dockerfile:1

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# The binary is copied out because cache mounts are not part of the layer. The image already has the C compiler that the
# crypto library and the allocator need.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin idgate && cp target/release/idgate /idgate

# No shell, no package manager, no root. idgate writes only to the paths in its configuration.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /idgate /idgate
# Loopback inside a container is not reachable from outside, so both listeners bind all addresses. idgate then refuses
# to start until the configuration has a client and an operator. This is intended.
ENV IDGATE__SERVER__LISTEN=0.0.0.0:8080 \
    IDGATE__SERVER__ADMIN_LISTEN=0.0.0.0:9464
EXPOSE 8080 9464
# Checks the admin listener of this container, over TLS if configured. It calls no provider and needs no operator key.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/idgate", "healthcheck"]
ENTRYPOINT ["/idgate"]
CMD ["serve"]
