#!/bin/sh
# Installs LiteLLM's proxy, an independent implementation of the dialects, where the test `litellm` looks for it.
set -eu
cd "$(dirname "$0")/.."
python3 -m venv target/litellm
target/litellm/bin/pip install --quiet 'litellm[proxy]'
echo "installed: target/litellm/bin/litellm"
