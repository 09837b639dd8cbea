# syntax=docker/dockerfile:1
FROM rust:1.95-bookworm AS build
WORKDIR /src

# Dependencies first, against empty sources: this layer is built again only when a manifest changes.
COPY Cargo.toml Cargo.lock rust-toolchain.toml ./
COPY .cargo .cargo
COPY migration/Cargo.toml migration/
COPY testkit/Cargo.toml testkit/
COPY bench/Cargo.toml bench/
COPY demo/Cargo.toml demo/
RUN mkdir -p src/bin tests migration/src testkit/src/bin bench/src demo/src \
    && touch src/lib.rs migration/src/lib.rs testkit/src/lib.rs tests/suite.rs \
    && for main in src/bin/main.rs testkit/src/bin/sink.rs bench/src/main.rs demo/src/main.rs; do \
         echo 'fn main() {}' > "$main"; done \
    && cargo build --release --locked --package ampout --bin ampout

COPY . .
# Cargo goes by time: sources copied with older times would count as already built.
RUN mkdir -p assets \
    && find . -name '*.rs' -not -path './target/*' -exec touch {} + \
    && cargo build --release --locked --package ampout --bin ampout

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home --home-dir /app ampout
WORKDIR /app
COPY --from=build /src/target/release/ampout /usr/local/bin/ampout
COPY --from=build /src/config config
COPY --from=build /src/assets assets
USER ampout
ENV LOCO_ENV=production
EXPOSE 5150
ENTRYPOINT ["ampout"]
CMD ["start"]
