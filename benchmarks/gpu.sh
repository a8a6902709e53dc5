#!/usr/bin/env bash
# The test suite on a CUDA machine, under JAX and PyTorch, within 9 minutes; a short table comes last.
#
# What the machine needs: see gpu_environment.sh, and pytest. Tests that need TensorFlow, hypothesis, scikit-learn, KerasHub,
# KerasCV or exporters are skipped where those are missing.
# Usage: bash benchmarks/gpu.sh [test files; default: all]
set -u
source "$(dirname "$0")/gpu_environment.sh"
# Comparisons to 1e-4 need real float32: no TF32 in matrix products and convolutions.
export NVIDIA_TF32_OVERRIDE=0 JAX_DEFAULT_MATMUL_PRECISION=highest

files=("$@")
[[ ${#files[@]} -gt 0 ]] || mapfile -t files < <(find tests -name 'test_*.py' | sort)
# One process a file and backend, as many at a time as there are cores: compiling takes most of the time.
for backend in jax torch; do printf "$backend %s\n" "${files[@]}"; done |
    timeout "$LIMIT" xargs -P "$(nproc)" -L 1 bash -c \
        'KERAS_BACKEND=$0 python3 -m pytest -q -p no:cacheprovider "$1" > "$WORK/$0-$(basename "$1").log" 2>&1; true'

python3 - "${files[@]}" <<'PY'
import os, re, sys

import jax, keras, numpy, torch

wrong = False
lines = []
for backend in ("jax", "torch"):
    counts = {"passed": 0, "failed": 0, "skipped": 0, "error": 0, "unfinished": 0}
    for file in sys.argv[1:]:
        path = os.path.join(os.environ["WORK"], f"{backend}-{os.path.basename(file)}.log")
        text = open(path).read() if os.path.exists(path) else ""
        last = text.strip().rsplit("\n", 1)[-1]
        found = re.findall(r"(\d+) (passed|failed|skipped|error)", last)
        for number, kind in found:
            counts[kind] += int(number)
        if not found or "failed" in last or "error" in last:
            counts["unfinished"] += not found
            print(f"---- {backend} {file}\n{text[-3000:]}")
    wrong |= not counts["passed"] or any(counts[kind] for kind in ("failed", "error", "unfinished"))
    lines.append(f"{backend:<8}" + "".join(f"{counts[kind]:>12}" for kind in counts))
print()
device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no CUDA device"
print(f"{device}; jax on {jax.default_backend()};", *(f"{m.__name__} {m.__version__}" for m in (keras, torch, jax, numpy)))
print(f"{'backend':<8}" + "".join(f"{kind:>12}" for kind in counts))
print("\n".join(lines))
sys.exit(wrong)
PY
