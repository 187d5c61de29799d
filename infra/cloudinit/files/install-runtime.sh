#!/bin/bash
# Unpacks the code and makes the Python environment, unless the image brings it.
set -euo pipefail
mkdir -p /opt/ragrec/code
tar -xzf /opt/ragrec/code.tar.gz -C /opt/ragrec/code
if [ ! -x /opt/ragrec/venv/bin/python ]; then
  python3.11 -m venv /opt/ragrec/venv
  /opt/ragrec/venv/bin/pip install --no-cache-dir --require-hashes -r /opt/ragrec/code/requirements.lock
fi
