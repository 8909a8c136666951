#!/bin/sh
# Puts hoodiecrow, an IMAP server with Gmail's extensions, into .lab/ (needs Node.js 20 and npm).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target="$here/../../.lab/hoodiecrow"
mkdir -p "$target"
cp "$here/hoodiecrow/package.json" "$here/hoodiecrow/package-lock.json" "$target/"
cd "$target"
npm ci --ignore-scripts --no-audit --no-fund
