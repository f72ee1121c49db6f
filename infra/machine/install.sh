#!/bin/sh
# Makes a fresh Debian 12 machine an instance of the web tier or of the controller.  Its user data runs this as root,
# from the unpacked program in /opt/elastic/program, after it has written /etc/elastic/settings.env.
set -eu
[ $# -eq 2 ] || { echo "usage: install.sh web|controller LOG-GROUP" >&2; exit 2; }
role=$1 log_group=$2
cd "$(dirname "$0")/../.."

id elastic >/dev/null 2>&1 || useradd --system --home-dir /opt/elastic --shell /usr/sbin/nologin elastic
install -d -o elastic -g elastic /var/log/elastic
# The settings may hold a secret: the service's user gets them from systemd, which reads them as root.
chmod 600 /etc/elastic/settings.env

python3 -m venv /opt/elastic/venv
/opt/elastic/venv/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes \
    --only-binary :all: --no-deps --requirement infra/requirements.txt
/opt/elastic/venv/bin/python -m compileall -q .

# The private address: nothing listens on any other.
echo "ELASTIC_ADDRESS=$(hostname -I | cut -d ' ' -f 1)" >/etc/elastic/address.env
install -m 644 "infra/machine/elastic-$role.service" /etc/systemd/system/
install -m 644 infra/machine/logrotate.conf /etc/logrotate.d/elastic
systemctl daemon-reload
systemctl enable --now "elastic-$role.service"

# A machine without logs in CloudWatch still works; its log says why it has none.
sh infra/machine/ship-logs.sh "$role" "$log_group" || echo "the logs are not sent to CloudWatch" >&2
