#!/bin/sh
# Build a virtual environment from the lock files: sh scripts/setup.sh DIR
#
# Needs Python 3.11 or newer. uv does the installing; it is taken from PATH, else installed by pip, and where a
# distribution has split venv and pip off its Python (Debian), by the distribution's own packages.
set -eu
venv=${1:?the folder of the virtual environment}
python=${PYTHON:-python3}
tools=$venv.tools

supported() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

if ! supported "$python"; then
  for candidate in python3.14 python3.13 python3.12 python3.11; do
    if supported "$candidate"; then python=$candidate; break; fi
  done
fi
supported "$python" || { echo "tradewind needs Python 3.11 or newer; name one: make setup PY=/path/to/python3" >&2; exit 1; }

find_uv() {
  for candidate in "$venv/bin/uv" "$tools/bin/uv" "$(command -v uv || true)"; do
    if [ -n "$candidate" ] && "$candidate" --version >/dev/null 2>&1; then uv=$candidate; return 0; fi
  done
  return 1
}

# pip puts uv into a folder of its own, which also an "externally managed" Python allows.
pip_uv() { "$python" -m pip install -q --disable-pip-version-check --root-user-action=ignore --target "$tools" uv 2>/dev/null; }
venv_uv() { "$python" -m venv "$tools" 2>/dev/null && "$tools/bin/python" -m pip install -q --disable-pip-version-check uv; }
debian_uv() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || return 1
  echo "installing python3-venv"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null && venv_uv
}

find_uv || { { pip_uv || venv_uv || debian_uv; } && find_uv; } || {
  echo "uv cannot be installed: this Python has neither pip nor venv. Install uv, or your system's python3-venv." >&2
  exit 1
}

[ -x "$venv/bin/python" ] || "$uv" venv -q --allow-existing --python "$(command -v "$python")" "$venv"
echo "installing the locked versions into $venv"
"$uv" pip sync -q --compile-bytecode --python "$venv/bin/python" --require-hashes requirements-dev.lock
"$uv" pip install -q --python "$venv/bin/python" --no-deps --no-build-isolation -e .
# Bytecode now, so that the first start is as fast as the others, also where Python is told not to write any.
"$venv/bin/python" -m compileall -q src
rm -rf "$tools"
