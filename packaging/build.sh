#!/usr/bin/env bash
# Builds the wheel and the npm packages of this machine's platform, and prints their paths.
#   packaging/build.sh [--out DIR] [--profile PROFILE]    builds the binary
#   packaging/build.sh [--out DIR] --binary PATH          packs a binary that exists, of any platform
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
out=$target/packages profile=release binary=

usage() { sed -n '2,4s/^# \{0,1\}//p' "$0"; }
value() { [ $# -ge 2 ] && [ -n "$2" ] || { echo "build.sh: $1: a value is missing; add one" >&2; exit 2; }; }
while [ $# -gt 0 ]; do
  case $1 in
    --out) value "$@"; out=$2; shift 2 ;;
    --profile) value "$@"; profile=$2; shift 2 ;;
    --binary) value "$@"; binary=$2; shift 2 ;;
    -h | --help) usage; exit ;;
    *) echo "build.sh: $1: there is no such option" >&2; usage >&2; exit 2 ;;
  esac
done

python=${PYTHON:-python3}
"$python" -c 'import tomllib' 2>/dev/null || { echo "build.sh: $python: older than Python 3.11; set PYTHON" >&2; exit 1; }
command -v npm >/dev/null || { echo "build.sh: npm is missing; install Node.js 18 or newer" >&2; exit 1; }
mkdir -p "$out"

if [ -n "$binary" ]; then
  "$python" "$root/packaging/wheel.py" "$binary" "$out"
else
  venv=$target/packaging-venv
  [ -x "$venv/bin/maturin" ] || { "$python" -m venv "$venv" && "$venv/bin/pip" install --quiet 'maturin>=1.9,<2'; } >&2
  new=$(mktemp -d "$out/.wheel.XXXXXX")
  trap 'rm -rf "$new"' EXIT
  (cd "$root/packaging/python" && "$venv/bin/maturin" build --profile "$profile" --target-dir "$target" --out "$new") >&2
  for wheel in "$new"/*.whl; do
    mv "$wheel" "$out/"
    echo "$out/$(basename "$wheel")"
  done
  folder=$([ "$profile" = dev ] && echo debug || echo "$profile")
  binary=$target/$folder/fake-openai
fi
"$python" "$root/packaging/npm.py" "$binary" "$out"
