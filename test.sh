#!/bin/bash
# Installs the Debian packages that the tests need (for root; names them for others),
# builds, and runs everything that CI runs.
set -euo pipefail
cd "$(dirname "$0")"
tests/packages.sh tests
exec make test
