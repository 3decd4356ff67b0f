#!/usr/bin/env bash
# On a machine with a CUDA device: the twins' tests on the device, then their benchmarks as JSON.
# Usage: scripts/gpu_check.sh [OUTPUT_DIR]     (default docs/benchmarks)
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-docs/benchmarks}
mkdir -p "$out"
venv=.venv/gpu
[ -x "$venv/bin/python" ] || python3 -m venv --system-site-packages "$venv"
"$venv/bin/python" -c 'import primeattn, numba_cuda, pytest' 2>/dev/null \
  || "$venv/bin/pip" install --quiet -e ".[test,cuda]"
"$venv/bin/primeattn" doctor
"$venv/bin/python" -m pytest -m cudasim -q
"$venv/bin/python" scripts/gpu_bench.py --output "$out/gpu.json"
