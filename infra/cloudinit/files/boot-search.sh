#!/bin/bash
# Everything that a node needs before its unit starts; stops at the first step that fails.
set -euo pipefail
/opt/ragrec/bin/install-opensearch
/opt/ragrec/bin/fetch --tree "oss://${config_bucket}/${config_key}" /
# ml-commons calls the inference gateway, whose certificate the stack's own authority signed.
keytool -importcert -noprompt -storetype PKCS12 -storepass changeit -alias ragrec \
  -file /etc/opensearch/certs/ca.pem -keystore /etc/opensearch/certs/truststore.p12
chown -R opensearch:opensearch /etc/opensearch
systemctl daemon-reload
systemctl enable --now opensearch
