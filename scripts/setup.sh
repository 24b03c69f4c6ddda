#!/bin/sh
# Build a virtual environment from the lock files: sh scripts/setup.sh DIR
# Finds uv, or installs it into the environment; needs Python 3.11 or newer and nothing else.
set -eu
venv=${1:?the folder of the virtual environment}
python=${PYTHON:-python3}

supported() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

if ! supported "$python"; then
  for candidate in python3.13 python3.12 python3.11; do
    if supported "$candidate"; then python=$candidate; break; fi
  done
fi
supported "$python" || { echo "tradewind needs Python 3.11 or newer; set PY=/path/to/python3.11" >&2; exit 1; }

if [ ! -x "$venv/bin/python" ]; then
  if ! "$python" -m venv "$venv" 2>/dev/null; then
    # Debian splits ensurepip off into python3-venv; uv makes environments without it.
    command -v uv >/dev/null 2>&1 || { echo "this Python cannot make environments: install python3-venv, or uv" >&2; exit 1; }
    uv venv -q --allow-existing --python "$python" "$venv"
  fi
fi
if [ ! -x "$venv/bin/uv" ]; then
  if [ -x "$venv/bin/pip" ]; then "$venv/bin/python" -m pip install -q --disable-pip-version-check uv
  else uv pip install -q --python "$venv/bin/python" uv; fi
fi
echo "installing the locked versions into $venv"
"$venv/bin/uv" pip sync -q --compile-bytecode --python "$venv/bin/python" --require-hashes requirements-dev.lock
"$venv/bin/uv" pip install -q --python "$venv/bin/python" --no-deps --no-build-isolation -e .
# Bytecode now, so that the first start is as fast as the others, also where Python is told not to write any.
"$venv/bin/python" -m compileall -q src
