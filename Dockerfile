FROM rust:1-bookworm AS build
WORKDIR /app
# The dependencies alone first: their layer stays as long as Cargo.lock does.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src fixtures \
    && echo 'fn main() {}' > src/main.rs && touch src/lib.rs && echo 'fn main() {}' > build.rs \
    && cargo build --locked --release && rm -r src fixtures build.rs
COPY build.rs ./
COPY fixtures fixtures
COPY src src
# The stand-ins above may be newer than the files copied over them.
RUN touch build.rs src/main.rs src/lib.rs && cargo build --locked --release

FROM debian:bookworm-slim
COPY --from=build /app/target/release/fake-openai /usr/local/bin/fake-openai
USER 65532:65532
# In a container nobody else has the port: another one than the published would answer nobody.
ENV FAKE_OPENAI_PORT=8080 FAKE_OPENAI_STRICT_PORT=true
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=4s --start-period=2s CMD ["fake-openai", "healthcheck"]
ENTRYPOINT ["fake-openai"]
