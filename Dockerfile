# syntax=docker/dockerfile:1

# For a build that can be repeated, pin both base images by digest (`docker buildx imagetools inspect NAME` prints it):
#
#   docker build --build-arg BUILD_IMAGE=rust:1.95-slim-bookworm@sha256:… \
#                --build-arg BASE_IMAGE=gcr.io/distroless/cc-debian12:nonroot@sha256:… .
ARG BUILD_IMAGE=rust:1.95-slim-bookworm
ARG BASE_IMAGE=gcr.io/distroless/cc-debian12:nonroot

# The image has the C compiler that the crypto library, SQLite and the allocator need, and its objcopy.
FROM ${BUILD_IMAGE} AS build
WORKDIR /src
# The dependencies have a layer of their own: it is rebuilt only when one of these two files changes.
COPY Cargo.toml Cargo.lock ./
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    mkdir src && echo 'fn main() {}' > src/main.rs && touch src/lib.rs \
    && cargo build --profile profiling --locked --bin idgate && rm -r src
COPY config/default.toml config/default.toml
COPY src src
# Cargo goes by times, and those of the copied files are older than the build above.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    touch src/main.rs src/lib.rs && cargo build --profile profiling --locked --bin idgate
RUN mkdir /out && cp target/profiling/idgate /out/idgate \
    && objcopy --only-keep-debug /out/idgate /out/idgate.debug \
    && objcopy --strip-all --add-gnu-debuglink=/out/idgate.debug /out/idgate \
    && install -d -m 0700 /out/var/lib/idgate

# The symbols, for gdb and perf: `docker build --target debug --output . .` writes idgate.debug. Keep it with the image.
FROM scratch AS debug
COPY --from=build /out/idgate.debug /

# No shell, no package manager, no root. idgate writes only to the paths in its configuration.
FROM ${BASE_IMAGE}
COPY --from=build /out/idgate /idgate
# The folder below it is the user's own: uid and gid 65532, mode 0700.
COPY --from=build --chown=65532:65532 /out/var/lib/ /var/lib/
# Mount your configuration over this one. No setting of it is in ENV, which would override your file unseen.
COPY config/container.toml /etc/idgate/idgate.toml
ENV IDGATE_CONFIG=/etc/idgate/idgate.toml
VOLUME /var/lib/idgate
USER 65532:65532
EXPOSE 8080 9464
# Checks the admin listener of this container, over TLS if configured. It calls no provider and needs no operator key.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/idgate", "healthcheck"]
ENTRYPOINT ["/idgate"]
CMD ["serve"]
