# betagate as an image: one static binary, the certificates of public authorities, the time zones; no shell, no package, an ordinary user.
#   docker build -t ghcr.io/betagate/betagate:0.1.0 .
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN apt-get update && apt-get install --yes --no-install-recommends tzdata
# Static on the GNU target. The target is named so that what runs during the build is not linked this way; zlib is built along, as the system's is shared.
ENV RUSTFLAGS="-C target-feature=+crt-static" LIBZ_SYS_STATIC=1
RUN target=$(rustc -vV | sed -n 's/^host: //p') \
    && cargo build --release --locked --bin betagate --target "$target" \
    && install -D "target/$target/release/betagate" /image/usr/bin/betagate \
    && strip --strip-debug /image/usr/bin/betagate \
    && install -D -m 644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
    && mkdir -p /image/usr/share && cp -rL /usr/share/zoneinfo /image/usr/share/zoneinfo \
    && echo 'betagate:x:65532:65532::/:/sbin/nologin' > /image/etc/passwd \
    && install -d -m 1777 /image/tmp

FROM scratch
COPY --from=build /image /
USER 65532:65532
ENV PATH=/usr/bin
ENTRYPOINT ["/usr/bin/betagate"]
