#!/usr/bin/env bash
# Run the tests that need a real NVIDIA GPU, on the machine that has one: tests/gpu/run.sh [pytest's arguments]
#
# These tests have NOT BEEN SEEN to pass on a real GPU: no machine with one was at hand when they were written.
# They have been tried against stand-ins for NVIDIA's libraries only, which shows that they run, not that what
# they say of a real driver is so. Whoever runs them first should say what came of it.
#
# It needs Python 3.11 or newer. What the tests need is installed into build/gpu-test from this checkout; where
# there is no network, whatever Python (PYTHON=...) already has is used, and what is missing is said.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${PYTHON:-python3}
folder=build/gpu-test
needed="attrs h11 nvidia-ml-py psutil pytest pytest-timeout transitions hypothesis"

if "$python" -m venv --system-site-packages "$folder" > /dev/null 2>&1 \
    && "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --timeout 5 --retries 0 \
        --editable ".[http,nvml]" $needed 2> "$folder/pip.log"; then
    python=$folder/bin/python
else
    echo "Nothing could be installed (no network?); going on with what $python has."
    export PYTHONPATH="$PWD:$PWD/drivers${PYTHONPATH:+:$PYTHONPATH}"
fi

missing=$("$python" - << 'END'
import importlib.util
modules = {"attrs": "attrs", "h11": "h11", "pynvml": "nvidia-ml-py", "psutil": "psutil", "pytest": "pytest",
           "pytest_timeout": "pytest-timeout", "transitions": "transitions", "hypothesis": "hypothesis"}
print(*(package for module, package in modules.items() if importlib.util.find_spec(module) is None))
END
)
if [ -n "$missing" ]; then
    echo "Missing, and not to be had without a network: $missing"
    exit 2
fi

nvidia-smi --query-gpu=index,name,memory.total,driver_version --format=csv || echo "There is no nvidia-smi here."
exec "$python" -m pytest -m gpu -rs -s -p no:randomly -p no:cacheprovider tests/gpu "$@"
