#!/bin/sh
# Make a fresh Debian 12 machine an instance of the web tier, of the controller or of both.  The user data runs this
# script as root from the unpacked program in /opt/elastic/program, after writing /etc/elastic/settings.env.
set -eu
usage() { echo "usage: install.sh web|controller LOG-GROUP [web|controller LOG-GROUP]" >&2; exit 2; }
[ $# -eq 2 ] || [ $# -eq 4 ] || usage
cd "$(dirname "$0")/../.."

id elastic >/dev/null 2>&1 || useradd --system --home-dir /opt/elastic --shell /usr/sbin/nologin elastic
install -d -o elastic -g elastic /var/log/elastic
# The settings may hold a secret: only root reads the file; systemd passes them to the service.
chmod 600 /etc/elastic/settings.env

python3 -m venv /opt/elastic/venv
/opt/elastic/venv/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes \
    --only-binary :all: --no-deps --requirement infra/requirements.txt
/opt/elastic/venv/bin/python -m compileall -q .

# Services listen on the private address only.
echo "ELASTIC_ADDRESS=$(hostname -I | cut -d ' ' -f 1)
ELASTIC_PORT=8000" >/etc/elastic/address.env
install -m 644 infra/machine/logrotate.conf /etc/logrotate.d/elastic
# Without a load balancer the web tier itself ends TLS.
if [ -f /etc/elastic/tls.pem ]; then
    chown elastic: /etc/elastic/tls.pem
    chmod 400 /etc/elastic/tls.pem
    sed -i 's/^ELASTIC_PORT=.*/ELASTIC_PORT=443/' /etc/elastic/address.env
    install -D -m 644 infra/machine/tls.conf /etc/systemd/system/elastic-web.service.d/tls.conf
fi

while [ $# -gt 0 ]; do
    role=$1 log_group=$2
    shift 2
    install -m 644 "infra/machine/elastic-$role.service" /etc/systemd/system/
    systemctl daemon-reload
    systemctl enable --now "elastic-$role.service"
    # Without the CloudWatch agent the service still works; the reason is in the instance's own log.
    sh infra/machine/ship-logs.sh "$role" "$log_group" || echo "the logs are not sent to CloudWatch" >&2
done
