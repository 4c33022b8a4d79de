# docroot in an image that has nothing else: one static file, the folder that it serves, and the licenses.
#
#     docker build -t docroot .
#     docker run -p 8080:8080 -v "$PWD/public:/html:ro" docroot
#
# tests/container/run builds this file and tries what README.md says of it.

# The compiler; with Cargo.lock it decides what is built.
ARG RUST=1.95

# It brings the C compiler that zstd needs, and nothing is added to it: the build asks the network for crates only.
FROM rust:${RUST}-slim-bookworm AS build
WORKDIR /src

# All in one file: the C library is linked statically as well. Only what is built for a target that is named is built
# like that, as macros are loaded into the compiler, which a static program cannot be. So the target is named below,
# although it is this machine's own.
ENV RUSTFLAGS="-C target-feature=+crt-static"

# What others wrote, first and under a library of ours that is empty: this layer lasts as long as these two files.
# (Cargo wants each benchmark of the manifest to be there, and looks into none.)
COPY Cargo.toml Cargo.lock ./
RUN mkdir src benches \
 && touch src/lib.rs benches/steps.rs benches/instructions.rs \
 && cargo build --release --locked --lib --target "$(rustc --print host-tuple)"

# What we wrote. Cargo tells what is new by its date, and sources may be older than the layer above: so what was made
# of the empty library is taken away first.
COPY src src
RUN target="$(rustc --print host-tuple)" \
 && cargo clean --release --locked --package docroot --target "$target" \
 && cargo build --release --locked --bin docroot --target "$target" \
 && mkdir /image \
 && cp "target/$target/release/docroot" /image/

# The site that is served where no other is mounted, for all users to read whatever the modes were where this is built.
# (Without compressed siblings: they would outlive a file that somebody copies over one of these.)
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
      org.opencontainers.image.description="A static HTTP file server on a mio Poll loop: a folder, served" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"

# Reachable from outside of the container. The port is 8080, or what DOCROOT_PORT or a platform's PORT says.
ENV DOCROOT_ROOT=/html \
    DOCROOT_BIND=[::]
EXPOSE 8080

# Nobody, by number: there is no /etc/passwd, and Kubernetes' runAsNonRoot can tell.
USER 65532:65532

# Drains: what is begun is finished.
STOPSIGNAL SIGTERM

# It reads the variables that the server reads.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 CMD ["/docroot", "healthcheck"]

ENTRYPOINT ["/docroot"]
