#!/bin/sh
# Install Amazon's CloudWatch agent after checking its signature, and configure it to send one more log file.
set -eu
role=$1 log_group=$2
# "Verifying the signature of the CloudWatch agent package" in the CloudWatch user guide.
fingerprint=937616F3450B7D806CBD9725D58167303B789C72
source=https://amazoncloudwatch-agent.s3.amazonaws.com
package=debian/$(dpkg --print-architecture)/latest/amazon-cloudwatch-agent.deb

action=append-config
if [ ! -x /opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl ]; then
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends gpg gpg-agent >/dev/null
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cd "$work"
    fetch() { python3 -c 'import sys, urllib.request; urllib.request.urlretrieve(sys.argv[1], sys.argv[2])' "$source/$1" "$2"; }
    fetch assets/amazon-cloudwatch-agent.gpg key.gpg
    fetch "$package" agent.deb
    fetch "$package.sig" agent.deb.sig
    export GNUPGHOME="$work"
    gpg --batch --quiet --import key.gpg
    gpg --batch --status-fd 1 --verify agent.deb.sig agent.deb 2>/dev/null | grep -q "^\[GNUPG:\] VALIDSIG $fingerprint "
    dpkg --install agent.deb >/dev/null
    action=fetch-config
fi

cat >/opt/aws/amazon-cloudwatch-agent/etc/elastic-$role.json <<END
{"agent": {"run_as_user": "root"},
 "logs": {"logs_collected": {"files": {"collect_list": [
   {"file_path": "/var/log/elastic/$role.log", "log_group_name": "$log_group", "log_stream_name": "{instance_id}"}]}}}}
END
/opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl -a "$action" -m ec2 -s \
    -c file:/opt/aws/amazon-cloudwatch-agent/etc/elastic-$role.json
