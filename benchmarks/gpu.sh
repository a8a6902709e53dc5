#!/usr/bin/env bash
# The test suite on a CUDA machine, under JAX and PyTorch, within 9 minutes; a short table comes last.
#
# The machine needs PyTorch, JAX (both for CUDA), numpy and pytest. Wheels of whatever else is missing (keras, optree,
# namex) can lie in the folder WHEELS (default: .whl); they are unpacked beside, not installed. Tests that need
# TensorFlow, hypothesis or scikit-learn are skipped where those are missing.
# Usage: bash benchmarks/gpu.sh [pytest arguments]
set -u
cd "$(dirname "$0")/.."
WHEELS=${WHEELS:-.whl}
SITE=$(mktemp -d)
trap 'rm -rf "$SITE"' EXIT
if compgen -G "$WHEELS/*.whl" > /dev/null; then
    python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$SITE" "$WHEELS"/*.whl || exit 1
fi
export PYTHONPATH="$SITE:$PWD${PYTHONPATH:+:$PYTHONPATH}"
export TF_CPP_MIN_LOG_LEVEL=3 XLA_PYTHON_CLIENT_PREALLOCATE=false
# Comparisons to 1e-4 need real float32: no TF32 in matrix products and convolutions.
export NVIDIA_TF32_OVERRIDE=0 JAX_DEFAULT_MATMUL_PRECISION=highest
BUDGET=260 # seconds a backend

rows=()
failed=0
for backend in jax torch; do
    log="$SITE/$backend.log"
    start=$SECONDS
    KERAS_BACKEND=$backend timeout $BUDGET python3 -m pytest -q -p no:cacheprovider "$@" 2>&1 | tee "$log" | tail -n 40
    code=${PIPESTATUS[0]}
    ((code == 0)) || failed=1
    rows+=("$(printf '%-8s %-6s %5ss  %s' "$backend" "$code" "$((SECONDS - start))" "$(tail -n 1 "$log" | tr -d '=')")")
done

echo
python3 - <<'PY'
import jax, keras, numpy, torch
device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no CUDA device"
print(f"device {device}; keras {keras.__version__}, torch {torch.__version__}, jax {jax.__version__} on",
      jax.default_backend() + f", numpy {numpy.__version__}")
PY
printf '%-8s %-6s %6s  %s\n' backend exit time result
printf '%s\n' "${rows[@]}"
exit $failed
