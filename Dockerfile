# syntax=docker/dockerfile:1

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# The caches outlive the layer, so the binary is copied out of them. The image's C compiler is all that the
# crypto and the allocator need.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin idgate && cp target/release/idgate /idgate

# No shell, no package manager, no root. It writes nowhere but the paths its configuration names.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /idgate /idgate
# A container's loopback is reachable by nobody, so here both listeners take every address. Without a client and an
# operator in the configuration the service then refuses to start: that is meant.
ENV IDGATE__SERVER__LISTEN=0.0.0.0:8080 \
    IDGATE__SERVER__ADMIN_LISTEN=0.0.0.0:9464
EXPOSE 8080 9464
# Asks the admin listener of this container, over TLS if it speaks that; never a provider. It needs no operator's key.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/idgate", "healthcheck"]
ENTRYPOINT ["/idgate"]
CMD ["serve"]
