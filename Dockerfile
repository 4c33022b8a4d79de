# An image that contains docroot, one static file, the site that it serves, and the licenses, and nothing else.
#
#     docker build -t docroot .
#     docker run -p 8080:8080 -v "$PWD/public:/html:ro" docroot
#
# tests/container/run builds this image and tests what docs/operate/container.md says of it.

# The version of the compiler; with Cargo.lock it determines the result.
ARG RUST=1.95

# This image has the C compiler that zstd needs. Nothing is installed: the build downloads crates only.
FROM rust:${RUST}-slim-bookworm AS build
WORKDIR /src

# One static file: the C library is linked statically, too. cargo applies this flag to macros as well, unless --target
# is given, and a static macro cannot be loaded into the compiler. So the target is given below, although it is the
# host.
ENV RUSTFLAGS="-C target-feature=+crt-static"

# The dependencies first, with an empty library in place of docroot's: this layer is reused while these two files are
# unchanged. (cargo requires the benchmark files of the manifest to exist, and does not read them.)
COPY Cargo.toml Cargo.lock ./
RUN mkdir src benches \
 && touch src/lib.rs benches/steps.rs benches/instructions.rs \
 && cargo build --release --locked --lib --target "$(rustc --print host-tuple)"

# docroot. cargo compares dates, and the sources may be older than the layer above, so the build of the empty library is
# removed first.
COPY src src
RUN target="$(rustc --print host-tuple)" \
 && cargo clean --release --locked --package docroot --target "$target" \
 && cargo build --release --locked --bin docroot --target "$target" \
 && mkdir /image \
 && cp "target/$target/release/docroot" /image/

# The site that is served unless another one is mounted. Every user may read it, whatever the modes in the checkout.
# (Without sidecars: they would be newer than a file that is copied over one of these.)
COPY html /image/html
COPY LICENSE-APACHE LICENSE-MIT /image/licenses/
RUN chmod -R a=rX,u+w /image/html /image/licenses \
 && chmod 755 /image/docroot


FROM scratch
COPY --from=build /image/ /

ARG VERSION=0.1.0
ARG REVISION=
ARG SOURCE=
LABEL org.opencontainers.image.title="docroot" \
      org.opencontainers.image.description="A static file server for Linux: one program, no configuration file" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"

# Listen on every address. The port is 8080, or that of DOCROOT_PORT, or of a platform's PORT.
ENV DOCROOT_ROOT=/html \
    DOCROOT_BIND=[::]
EXPOSE 8080

# An unprivileged user, by number: there is no /etc/passwd, and Kubernetes' runAsNonRoot needs a number.
USER 65532:65532

# Finishes running transfers.
STOPSIGNAL SIGTERM

# Reads the same variables as the server.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 CMD ["/docroot", "healthcheck"]

ENTRYPOINT ["/docroot"]
