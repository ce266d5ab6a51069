#!/bin/sh
# Installs croniter, an independent implementation of cron expressions, where the test `croniter` looks for it.
set -eu
cd "$(dirname "$0")/.."
python3 -m venv target/croniter
target/croniter/bin/pip install --quiet 'croniter==7.0.0' 'tzdata'
echo "installed: target/croniter/bin/python"
