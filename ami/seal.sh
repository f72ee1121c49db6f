#!/bin/sh
# The last command on a builder: remove the traces of the build and power the machine off.
# systemd runs it, not Systems Manager's agent, which it removes.
set -eu
DEBIAN_FRONTEND=noninteractive apt-get purge -qq amazon-ssm-agent || true
apt-get clean
rm -rf /var/lib/amazon /var/log/amazon /etc/amazon /var/lib/cloud /var/lib/apt/lists/*_* /root/.ssh /home/*/.ssh
rm -f /etc/ssh/ssh_host_* /etc/netplan/50-cloud-init.yaml /var/lib/systemd/random-seed
journalctl --rotate --vacuum-time=1s || true
find /var/log -type f ! -path '/var/log/journal/*' -exec truncate --size 0 {} +
# An empty file: systemd generates an id at each machine's first boot.
truncate --size 0 /etc/machine-id
sync
systemctl poweroff
