#!/bin/sh
# Makes a Debian 12 machine, or a root file system that one has changed into, an instance of the app tier.
# Run as root from anywhere in an unpacked archive of the program.  A second run changes nothing.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" -eq 0 ] || { echo "provisioning needs root" >&2; exit 1; }

# What provisions needs Python, pip and python-crontab.  They live in an environment of their own, which goes again.
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

# The whole way of an image through decoder and model, as the user and with the settings that the worker will have.
cd /
setpriv --reuid elastic --regid elastic --clear-groups --reset-env \
    /opt/elastic/venv/bin/python -m app_tier.smoke_test /opt/elastic/program/models/*
