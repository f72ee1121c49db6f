# Images of the program: `web`, `controller` and `worker`, one for each tier on a cloud, and `local`, the whole program with
# its embedded cloud, which compose.yaml runs.  docs/how-to/containers.md says how, and what of it has been tested.
#
# All packages come from wheels with known hashes; nothing here is a secret.  Programs run as a user without rights, and
# their files belong to root.

# Debian 12, whose Python 3.11 the machines on AWS have, too.
ARG DEBIAN=docker.io/library/debian:12.12-slim

# hadolint ignore=DL3006
FROM ${DEBIAN} AS python
SHELL ["/bin/sh", "-euc"]
# Debian's versions of a stable release disappear from its mirrors with each security update.
# hadolint ignore=DL3008
RUN apt-get update -qq; \
    apt-get install -qq --no-install-recommends python3; \
    rm -rf /var/lib/apt/lists/*; \
    useradd --uid 10001 --user-group --create-home --home-dir /var/lib/elastic --shell /usr/sbin/nologin elastic
ENV PATH=/opt/elastic/venv/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /opt/elastic/program

FROM python AS build
# hadolint ignore=DL3008
RUN apt-get update -qq; \
    apt-get install -qq --no-install-recommends python3-venv; \
    rm -rf /var/lib/apt/lists/*

# What the web tier and the controller import.
FROM build AS build-tiers
COPY infra/requirements.txt infra/
RUN python3 -m venv /tools; \
    python3 -m venv --without-pip /opt/elastic/venv; \
    /tools/bin/python -m pip --python /opt/elastic/venv/bin/python install --quiet --no-cache-dir --require-hashes \
        --only-binary :all: --no-deps --requirement infra/requirements.txt; \
    # botocore has the data of four hundred services; the last two are for credentials.
    find /opt/elastic/venv/lib/python3*/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d \
        ! -name cloudwatch ! -name ec2 ! -name s3 ! -name sqs ! -name sts ! -name 'sso*' -exec rm -r {} +; \
    python3 -m compileall -q /opt/elastic/venv

# What a worker imports: the same installation as in the machine image, without the wheels' unused files.
FROM build AS build-worker
COPY ami ami
COPY core core
COPY app_tier/requirements.txt app_tier/
RUN python3 -m venv /tools; \
    /tools/bin/python -m pip install --quiet --no-cache-dir --require-hashes --only-binary :all: --no-deps \
        --requirement ami/requirements.txt; \
    /tools/bin/python -c "from pathlib import Path; from ami import provision; \
provision.install_python_packages(Path('app_tier/requirements.txt'))"

# Everything that runs the program on one machine.
FROM build AS build-local
COPY requirements-run.lock ./
RUN python3 -m venv /tools; \
    python3 -m venv --without-pip /opt/elastic/venv; \
    /tools/bin/python -m pip --python /opt/elastic/venv/bin/python install --quiet --no-cache-dir --require-hashes \
        --only-binary :all: --no-deps --requirement requirements-run.lock
COPY . .
# Editable: the program is found in the folder that the image has it in, and `elastic` is a command.
RUN /tools/bin/python -m pip --python /opt/elastic/venv/bin/python install --quiet --no-cache-dir --no-deps \
        --no-build-isolation --editable .; \
    python3 -m compileall -q /opt/elastic/venv

FROM python AS tier
COPY --from=build-tiers /opt/elastic/venv /opt/elastic/venv
COPY core core
COPY aws aws

FROM tier AS web
COPY web_tier web_tier
COPY templates templates
COPY static static
COPY translations translations
RUN python3 -m compileall -q .
USER 10001
# Other machines reach it, so that it refuses to start without tokens.
ENV EIC_AUTHENTICATION=tokens
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
# gunicorn lets uploads that are under way finish.
STOPSIGNAL SIGTERM
CMD ["python", "-m", "gunicorn", "--config", "python:web_tier.gunicorn_config", "--bind", "0.0.0.0:8000", "web_tier.wsgi:app"]

FROM tier AS controller
COPY controller controller
RUN python3 -m compileall -q .
USER 10001
# It listens nowhere: its lease and status in the state bucket show whether it works, and it ends if it cannot.
HEALTHCHECK NONE
CMD ["python", "-m", "controller"]

FROM python AS worker
COPY --from=build-worker /opt/elastic/venv /opt/elastic/venv
COPY core core
COPY aws aws
COPY app_tier app_tier
COPY models/resnet50-imagenet models/resnet50-imagenet
RUN python3 -m compileall -q .
USER 10001
ENV EIC_MODEL_BUNDLE=models/resnet50-imagenet \
    EIC_MODEL_CACHE=/var/lib/elastic
# It listens nowhere: its heartbeat in the state bucket shows whether it works, and it ends if it cannot.
HEALTHCHECK NONE
CMD ["python", "-m", "app_tier"]

FROM python AS local
COPY --from=build-local /opt/elastic/venv /opt/elastic/venv
COPY . .
RUN python3 -m compileall -q .
USER 10001
ENV EIC_AUTHENTICATION=tokens \
    XDG_STATE_HOME=/var/lib/elastic
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
CMD ["elastic", "up", "--host", "0.0.0.0", "--port", "8080"]
