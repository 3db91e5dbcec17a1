#!/usr/bin/env bash
# Installs the packages as a stranger would, in a fresh virtual environment and a fresh folder, and runs their tests.
#   packaging/test.sh [--all] [OPTIONS OF build.sh]    --all: also with vitest and Jest
# Where pip or npm cannot reach their registry, the part that needs it is skipped, with a line that says SKIPPED.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
all=
[ "${1:-}" = --all ] && { all=1; shift; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
skipped() { echo "packaging/test.sh: SKIPPED the $1: $2 cannot be installed from the registry"; }
quietly() { local log; log=$(mktemp "$work/log.XXXXXX"); "$@" >"$log" 2>&1 || { cat "$log"; return 1; }; }

python_part() {
  echo "== Python"
  # The pip at hand: a new one, and files compiled before their use, are half of the time.
  "$python" -m venv --without-pip "$work/venv"
  install() { quietly "$python" -m pip --python "$work/venv/bin/python" install --no-compile "$@"; }
  install 'openai>=1,<4' 'pytest>=7,<10' 'pytest-xdist>=3,<4' || { skipped "tests of the wheel" "pytest or openai"; return 0; }
  install --no-index "$work"/packages/*.whl || return
  cd "$root/packaging/python/tests"
  "$work/venv/bin/fake-openai" --version && "$work/venv/bin/python" -m pytest -q -p no:cacheprovider .
}

node_part() {
  echo "== Node.js"
  mkdir "$work/node" && cd "$work/node" && echo '{"private": true}' >package.json || return
  # shellcheck disable=SC2086
  quietly npm install --no-audit --no-fund openai ${all:+vitest@5 jest@30} ||
    { skipped "tests of the npm packages" "openai"; return 0; }
  # Offline: the packages of the other platforms are optional, and not there.
  quietly npm install --offline --no-audit --no-fund "$work"/packages/*.tgz || return
  cp -r "$root/packaging/node/test" . && npx --no-install fake-openai --version && node --test test/*.test.mjs || return
  [ -z "$all" ] || { npx --no-install vitest run --dir test/vitest && npx --no-install jest --rootDir test/jest; }
}

"$root/packaging/build.sh" "$@" --out "$work/packages"
status=0
# Both at once: they mostly wait for their registries.
(node_part) >"$work/node.txt" 2>&1 &
node=$!
(python_part) || status=1
wait "$node" || status=1
cat "$work/node.txt"
exit "$status"
