#!/bin/sh
# Installs the official Python SDK of the Model Context Protocol where the tests `mcp::official` look for it.
set -eu
cd "$(dirname "$0")/.."
python3 -m venv target/mcp-sdk
target/mcp-sdk/bin/pip install --quiet 'mcp>=1.9'
echo "installed: target/mcp-sdk/bin/python ($(target/mcp-sdk/bin/pip show mcp | sed -n 's/^Version: /mcp /p'))"
