#!/bin/sh
# Installs the vendors' own clients, newest version, where the test `sdks` looks for them.
set -eu
cd "$(dirname "$0")/.."
python3 -m venv target/sdks
target/sdks/bin/pip install --quiet --upgrade openai anthropic
target/sdks/bin/python -c 'import openai, anthropic; print("installed: openai", openai.__version__, "anthropic", anthropic.__version__)'
