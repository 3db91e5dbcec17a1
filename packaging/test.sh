#!/usr/bin/env bash
# Installs the packages as a stranger would, in a fresh virtual environment and a fresh folder, and runs their tests.
#   packaging/test.sh [--all] [OPTIONS OF build.sh]    --all: also with vitest and jest
# Without pip's or npm's registry, the part that needs it is skipped, with a line that says SKIPPED.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
all=
[ "${1:-}" = --all ] && { all=1; shift; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
skipped() { echo "packaging/test.sh: SKIPPED the $1: $2 cannot be installed from the registry" >&2; }
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; return 1; }; }

"$root/packaging/build.sh" "$@" --out "$work/packages"

echo "== Python"
"${PYTHON:-python3}" -m venv "$work/venv"
if quietly "$work/venv/bin/pip" install 'openai>=1,<4' 'pytest>=7,<10' 'pytest-xdist>=3,<4'; then
  quietly "$work/venv/bin/pip" install --no-index "$work"/packages/*.whl
  (cd "$root/packaging/python/tests" && "$work/venv/bin/python" -m pytest -q -p no:cacheprovider .)
else
  skipped "tests of the wheel" "pytest or openai"
fi

echo "== Node.js"
mkdir "$work/node"
cd "$work/node"
echo '{"private": true}' >package.json
runners=${all:+vitest@5 jest@30}
# shellcheck disable=SC2086
if quietly npm install --no-audit --no-fund openai $runners; then
  # Offline: the packages of the other platforms are optional, and not there.
  quietly npm install --offline --no-audit --no-fund "$work"/packages/*.tgz
  cp -r "$root/packaging/node/test" .
  npx --no-install fake-openai --version
  node --test test/*.test.mjs
  if [ -n "$all" ]; then
    npx --no-install vitest run --dir test/vitest
    npx --no-install jest --rootDir test/jest
  fi
else
  skipped "tests of the npm packages" "openai"
fi
