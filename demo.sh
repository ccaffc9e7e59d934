#!/bin/bash
# Builds the program and runs its demo: a throwaway CA, the responder on an SQLite
# table, and the real `openssl ocsp` client. Nothing outside a temporary folder is
# touched, but for build packages that are missing (installed for root, named for
# others). Arguments go to the demo: ./demo.sh --keep
set -euo pipefail
CDPATH='' cd "$(dirname "$0")"
tests/packages.sh demo
exec cargo run --release --locked -- demo "$@"
