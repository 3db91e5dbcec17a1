FROM rust:1-bookworm AS build
WORKDIR /app
# The dependencies alone first: their layer stays as long as Cargo.toml and Cargo.lock do.
COPY Cargo.toml Cargo.lock ./
# Cargo.toml names them, and cargo wants to see what it names.
COPY benches benches
RUN mkdir src && touch src/lib.rs && echo 'fn main() {}' > build.rs && cargo build --locked --release --lib
COPY . .
# The stand-ins may be newer than the files copied over them. A static binary needs no base image.
RUN touch build.rs src/lib.rs && cargo rustc --locked --release --bin fake-openai -- -C target-feature=+crt-static

FROM scratch
LABEL org.opencontainers.image.title="fake-openai" \
    org.opencontainers.image.description="The load-grade fake LLM endpoint: answers like OpenAI, without a model" \
    org.opencontainers.image.licenses="MIT"
COPY --from=build /app/target/release/fake-openai /usr/local/bin/
# The components, and the licence of the C library that the binary is linked with. The binary prints all others.
COPY --from=build /app/notices/sbom.cdx.json /usr/share/doc/fake-openai/
COPY --from=build /usr/share/doc/libc6/copyright /usr/share/doc/libc6/
COPY --from=build /usr/share/common-licenses/LGPL-2.1 /usr/share/common-licenses/
USER 65532:65532
# In a container nobody else has the port: another one than the published would answer nobody.
ENV FAKE_OPENAI_STRICT_PORT=true
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=4s --start-period=2s CMD ["fake-openai", "healthcheck"]
ENTRYPOINT ["fake-openai"]
