#!/usr/bin/env bash
# Run the tests that need a real NVIDIA GPU, on a machine that has one: everything it needs is installed here.
#
#     tests/gpu/run.sh [PYTHON]        python3, 3.11 or newer, if none is named
set -euo pipefail
cd "$(dirname "$0")/../.."

command -v nvidia-smi > /dev/null || { echo "There is no nvidia-smi: no NVIDIA driver, no test."; exit 2; }
nvidia-smi

folder=build/gpu-test
[ -x "$folder/bin/python" ] || "${1:-python3}" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[test]"
"$folder/bin/python" -m pytest -m gpu -rs -s -p no:randomly tests/gpu
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[bench]"
exec "$folder/bin/python" -m benchmarks gpus
