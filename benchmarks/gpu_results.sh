#!/usr/bin/env bash
# The next open rows of docs/results.md on a CUDA machine: all arms of one pair over seeds, within 9 minutes a call; what a
# call did not reach the next one goes on with. Prints the table last.
#
# The machine needs what gpu.sh says, and scipy and scikit-learn for the report and the digits.
# Usage: bash benchmarks/gpu_results.sh DATA OUTPUT.jsonl [arguments of image_classification.py]
#   e.g. GROUPS_="paper candidates" bash benchmarks/gpu_results.sh cifar10.npz runs.jsonl --pair resnet-20/32 --epochs 60 \
#            --rate 0.4 --warmup 0.05
# DATA is cifar10, cifar100 or an .npz with the arrays of keras.datasets.cifar10. SEEDS (3), JOBS (8) and GROUPS_ (paper) can
# be set in the environment, WHEELS as for gpu.sh.
set -u
OUTPUT=$(realpath "$2")
DATA=$1
[[ ! -e $DATA ]] || DATA=$(realpath "$DATA")
shift 2
cd "$(dirname "$0")/.."
WHEELS=${WHEELS:-.whl}
LIMIT=${LIMIT:-510} # seconds
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
if compgen -G "$WHEELS/*.whl" > /dev/null; then
    python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$WORK/site" "$WHEELS"/*.whl || exit 1
fi
export PYTHONPATH="$WORK/site:$PWD${PYTHONPATH:+:$PYTHONPATH}" KERAS_BACKEND=${KERAS_BACKEND:-jax}
# Many processes share the card, so none may take its memory in advance; small nets leave most of it idle.
export TF_CPP_MIN_LOG_LEVEL=3 XLA_PYTHON_CLIENT_PREALLOCATE=false

timeout "$LIMIT" python3 examples/image_sweep.py --output "$OUTPUT" --groups ${GROUPS_:-paper} --seeds "${SEEDS:-3}" \
    --jobs "${JOBS:-8}" -- --data "$DATA" "$@"
echo
python3 examples/image_report.py "$OUTPUT"
