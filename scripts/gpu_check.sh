#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: install SGLang in an environment of its own, serve a checkpoint, and print the table of
# parity, latency, throughput, cache hits, fuzzed requests and restarts. Needs python3.11, a driver for CUDA 13, 20 GB of disk.
#
#     scripts/gpu_check.sh                     # the embedded checkpoint
#     scripts/gpu_check.sh CHECKPOINT [ARGUMENTS OF measure_sglang.py...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v nvidia-smi >/dev/null || { echo "no NVIDIA GPU here (nvidia-smi is missing): see docs/sglang.md" >&2; exit 2; }
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader

python=${PYTHON:-python3.11}
server=.sglang-gpu-env
client=.venv
[ -x "$server/bin/python" ] || "$python" -m venv "$server"
"$server/bin/python" -c "import importlib.metadata as m; assert m.version('sglang') == '0.5.23'" 2>/dev/null \
    || "$server/bin/python" -m pip install -q sglang==0.5.23
[ -x "$client/bin/python" ] || "$python" -m venv "$client"
"$client/bin/python" -m pip install -q -c constraints.txt -e '.[sglang,train]'

checkpoint=()
if [ $# -gt 0 ]; then
    checkpoint=(--checkpoint "$1")
    shift
fi
"$client/bin/python" scripts/measure_sglang.py --python "$server/bin/python" --device cuda \
    --json gpu_check.json "${checkpoint[@]}" "$@"
