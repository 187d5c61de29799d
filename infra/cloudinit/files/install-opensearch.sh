#!/bin/bash
# Installs OpenSearch with its default plugins unless the image brings it, and lays out its configuration.
set -euo pipefail
if [ ! -x /usr/share/opensearch/bin/opensearch ]; then
  rpm=/tmp/opensearch-${opensearch_version}.rpm
  curl -fsSL --retry 5 -o "$rpm" "${opensearch_package}"
  echo "${opensearch_sha512}  $rpm" | sha512sum --check --quiet
  env DISABLE_INSTALL_DEMO_CONFIG=true dnf install -y "$rpm"
  rm -f "$rpm"
fi
mkdir -p /etc/opensearch /var/lib/opensearch /var/log/opensearch
# The engine's defaults (logging, JVM options, security), never over what is there.
cp -rn /usr/share/opensearch/config/. /etc/opensearch/ 2>/dev/null || true
chown -R opensearch:opensearch /etc/opensearch /var/lib/opensearch /var/log/opensearch
