#!/bin/bash
# Everything that the instance needs before its unit starts; stops at the first step that fails.
set -euo pipefail
/opt/ragrec/bin/fetch "oss://${data_bucket}/${code_key}" /opt/ragrec/code.tar.gz
/opt/ragrec/bin/install-runtime
/opt/ragrec/bin/fetch --tree "oss://${config_bucket}/${config_key}" /
mkdir -p /var/lib/ragrec
chown -R ragrec:ragrec /var/lib/ragrec
systemctl daemon-reload
systemctl enable --now ragrec-recommendation
