#!/bin/bash
# Installs OpenSearch from its signed repository unless the image brings it, and lays out its configuration.
set -euo pipefail
if [ ! -x /usr/share/opensearch/bin/opensearch ]; then
  site=https://artifacts.opensearch.org
  rpm --import "$site/publickeys/opensearch.pgp"
  curl -fsSL --retry 5 -o /etc/yum.repos.d/opensearch-2.x.repo \
    "$site/releases/bundle/opensearch/2.x/opensearch-2.x.repo"
  cp /etc/opensearch/opensearch.yml /tmp/opensearch.yml
  env DISABLE_INSTALL_DEMO_CONFIG=true dnf install -y "opensearch-${opensearch_version}"
  mv /tmp/opensearch.yml /etc/opensearch/opensearch.yml
fi
mkdir -p /etc/opensearch /var/lib/opensearch /var/log/opensearch
# The engine's defaults (logging, JVM options, security), never over what is there.
if [ -d /usr/share/opensearch/config ]; then
  cp -rn /usr/share/opensearch/config/. /etc/opensearch/
fi
chown -R opensearch:opensearch /etc/opensearch /var/lib/opensearch /var/log/opensearch
