#!/bin/bash
# Everything that the instance needs before its units start; stops at the first step that fails.
set -euo pipefail
/opt/ragrec/bin/fetch "oss://${data_bucket}/${code_key}" /opt/ragrec/code.tar.gz
/opt/ragrec/bin/install-runtime
/opt/ragrec/bin/fetch --tree "oss://${config_bucket}/${config_key}" /
/opt/ragrec/bin/fetch "oss://${data_bucket}/${model_key}" /opt/models/custom_emb.mar
mkdir -p /var/lib/ragrec /var/log/torchserve
chown -R ragrec:ragrec /opt/models /var/lib/ragrec /var/log/torchserve
systemctl daemon-reload
systemctl enable --now torchserve ragrec-gateway
