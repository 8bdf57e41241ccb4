# The upload hook's sidecar in a container: docker build -f docker/hook.Dockerfile -t hashhub-hook .
FROM python:3.11-slim AS build
WORKDIR /src
# Dependencies first: they change less often than the code, so this layer is kept.
COPY docker/hook.requirements.lock docker/hook.requirements.lock
RUN python -m venv /opt/hashhub \
 && /opt/hashhub/bin/pip install --no-cache-dir --require-hashes -r docker/hook.requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY hashhub hashhub
COPY connectors connectors
RUN /opt/hashhub/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/hashhub-hook --create-home hashhub
COPY --from=build /opt/hashhub /opt/hashhub
ENV PATH=/opt/hashhub/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HASHHUB_HOOK_DATA=/var/lib/hashhub-hook/data \
    HASHHUB_KERNEL_CACHE=/opt/hashhub/kernels
# The compiled loops of PDQ, for this machine's kind of processor. Where the image then runs on another kind, the first
# start compiles them once more, into the volume.
RUN python -m hashhub.hashing && chmod -R a+rX /opt/hashhub/kernels
ENV HASHHUB_KERNEL_CACHE=/var/lib/hashhub-hook/kernels:/opt/hashhub/kernels
USER hashhub
# For its owner only: the hook refuses a directory that others can read.
RUN mkdir -m 700 -p /var/lib/hashhub-hook/data && mkdir -p /var/lib/hashhub-hook/kernels
VOLUME /var/lib/hashhub-hook
EXPOSE 8472
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8472/healthz', timeout=3)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["hashhub"]
CMD ["hook", "serve"]
