# The command `telefonie` in an image: docker build --tag telefonie/streams:dev .
# A release gives the base by digest: --build-arg BASE=python:…@sha256:…
# Not the fastest: 3.14 takes about a tenth less CPU per event and has every locked wheel, but the image runs only a
# version on which CI runs every test.
ARG BASE=python:3.11.14-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
# Exactly the locked packages, as wheels only: nothing is compiled, and neither pip nor a compiler is in the final image.
COPY requirements.lock .
RUN python3 -m venv --without-pip /opt/telefonie \
    && python3 -m pip --python /opt/telefonie/bin/python install --no-cache-dir --no-compile \
        --disable-pip-version-check --only-binary :all: --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md ./
COPY codecs codecs
COPY streams streams
# The build backend is one of the locked packages; once everything is built, nothing needs it. Nor does anything use the
# geographic data of phone numbers, which is two fifths of what was installed.
RUN python3 -m pip --python /opt/telefonie/bin/python install --no-cache-dir --no-compile \
        --disable-pip-version-check --no-deps --no-build-isolation . \
    && python3 -m pip --python /opt/telefonie/bin/python uninstall --quiet --yes setuptools \
    && rm -r /opt/telefonie/lib/python3*/site-packages/phonenumbers/geodata \
    && /opt/telefonie/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/telefonie/lib

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Telefonie streams" \
      org.opencontainers.image.description="Turns Telefonie Call events from Kafka into completed-call records" \
      org.opencontainers.image.vendor="Telefonie" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/telefonie /opt/telefonie
ENV PATH=/opt/telefonie/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
WORKDIR /tmp
EXPOSE 6066
STOPSIGNAL SIGTERM
# Whether the worker is alive: recovery may take minutes, and is no reason to restart it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=3m --retries=6 CMD ["python", "-m", "streams.worker.probe", "/live"]
ENTRYPOINT ["telefonie"]
CMD ["worker"]
