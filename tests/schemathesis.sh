#!/bin/sh
# Installs schemathesis, newest version, where the test `schemathesis` looks for it.
set -eu
cd "$(dirname "$0")/.."
python3 -m venv target/schemathesis
target/schemathesis/bin/pip install --quiet --upgrade schemathesis
target/schemathesis/bin/schemathesis --version
