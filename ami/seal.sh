#!/bin/sh
# The last command on a builder: leaves nothing of the building behind and switches the machine off.
# Run by systemd and not by Systems Manager's agent, which it removes.
set -eu
DEBIAN_FRONTEND=noninteractive apt-get purge -qq amazon-ssm-agent || true
apt-get clean
rm -rf /var/lib/amazon /var/log/amazon /etc/amazon /var/lib/cloud /var/lib/apt/lists/*_* /root/.ssh /home/*/.ssh
rm -f /etc/ssh/ssh_host_* /etc/netplan/50-cloud-init.yaml /var/lib/systemd/random-seed
journalctl --rotate --vacuum-time=1s || true
find /var/log -type f ! -path '/var/log/journal/*' -exec truncate --size 0 {} +
# An empty one: systemd gives each machine an id of its own.
truncate --size 0 /etc/machine-id
sync
systemctl poweroff
