# Built in one image, run from a small one that has nothing else in it.
#
#   docker build --tag keyward .
#   docker run --rm keyward token new --scope admin        # a token, and the entry that lets it in
#   docker run --publish 127.0.0.1:8080:8080 --volume keyward:/var/lib/keyward \
#     --env KEYWARD__AUTH__TOKENS='[{ id = "…", hash = "…", scopes = ["admin"] }]' keyward

FROM rust:1-bookworm AS build
WORKDIR /keyward
COPY . .
# The caches stay with the builder, so that a change of the code compiles the code and not its dependencies.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/keyward/target \
    cargo build --release --locked --features kafka --bin keyward && cp target/release/keyward /usr/local/bin/keyward

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin keyward \
    && install --directory --owner keyward --group keyward --mode 0700 /var/lib/keyward
COPY --from=build /usr/local/bin/keyward /usr/local/bin/keyward
USER keyward
WORKDIR /var/lib/keyward
VOLUME /var/lib/keyward
# Within a container loopback reaches nobody. Without a token the service refuses to start on this address.
ENV KEYWARD_LISTEN=0.0.0.0:8080 \
    KEYWARD_STORE=embedded:/var/lib/keyward \
    KEYWARD__SECRETS__DATA_DIRECTORY=/var/lib/keyward
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["keyward", "status", "--health"]
ENTRYPOINT ["keyward"]
CMD ["serve"]
