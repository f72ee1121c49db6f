#!/bin/sh
# Make a Debian 12 machine, or a root file system entered by chroot, an instance of the app tier.
# Run as root from anywhere in an unpacked archive of the program.  A second run changes nothing.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" -eq 0 ] || { echo "provisioning needs root" >&2; exit 1; }

# Provisioning needs Python, pip and python-crontab; they live in a temporary environment.
if ! dpkg-query --show --showformat '${Status}' python3-venv 2>/dev/null | grep -q '^install ok installed'; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends python3 python3-venv >/dev/null
fi
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
/usr/bin/python3 -m venv "$tools"
"$tools/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes \
    --only-binary :all: --no-deps --requirement ami/requirements.txt
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=. "$tools/bin/python" -m ami.provision "$@"

# The smoke test classifies an image with decoder and model, as the worker's user and with the worker's settings.
cd /
setpriv --reuid elastic --regid elastic --clear-groups --reset-env \
    /opt/elastic/venv/bin/python -m app_tier.smoke_test /opt/elastic/program/models/*
