#!/usr/bin/env bash
# Build the wheel and run the fast tests on it, in a copy of this folder without the sources:
# what passes here is what people install.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=build/wheel-test
python=$PWD/$folder/venv/bin/python
mkdir -p "$folder"

echo "Building the wheel ..."
rm -rf dist
.venv/bin/python -m build --outdir dist . > "$folder/build.log" 2>&1 || { cat "$folder/build.log"; exit 1; }
wheel=$(echo dist/*.whl)

pip_install() { "$python" -m pip install --quiet --quiet --disable-pip-version-check "$@"; }

if cmp --silent setup.cfg "$folder/installed-for.cfg" && [ "$(cat "$folder/made-in")" = "$PWD" ]; then
    pip_install --force-reinstall --no-deps "$wheel"
else
    echo "Installing it with what the tests need, this first time only ..."
    rm -rf "$folder/venv"
    .venv/bin/python -m venv "$folder/venv"
    pip_install "$wheel[test]"
    cp setup.cfg "$folder/installed-for.cfg"
    echo "$PWD" > "$folder/made-in"
fi

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
tar --create --exclude-vcs --exclude=./{pool_lifecycle,drivers,build,dist,.venv} \
    --exclude='*.egg-info' --exclude=__pycache__ --exclude='.*_cache' . | tar --extract --directory "$copy"

cd "$copy"
"$python" -m pytest -q -m "not slow and not gpu and not sources" -n auto --dist loadgroup
