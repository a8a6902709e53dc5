#!/usr/bin/env bash
# The next open rows of docs/results.md on a CUDA machine: all arms of one pair over seeds, within 9 minutes a call; what a
# call did not reach the next one goes on with. Prints the table last.
#
# What the machine needs: see gpu_environment.sh, and scipy and scikit-learn for the report and the digits.
# Usage: bash benchmarks/gpu_results.sh DATA OUTPUT.jsonl [arguments of image_classification.py]
#   e.g. GROUPS_="paper candidates" bash benchmarks/gpu_results.sh cifar10.npz runs.jsonl --pair resnet-20/32 --epochs 60 \
#            --rate 0.4 --warmup 0.05
# DATA is cifar10, cifar100 or an .npz with the arrays of keras.datasets.cifar10. SEEDS (3), JOBS (8) and GROUPS_ (paper) can
# be set in the environment.
set -u
OUTPUT=$(realpath "$2")
DATA=$1
[[ ! -e $DATA ]] || DATA=$(realpath "$DATA")
shift 2
source "$(dirname "$0")/gpu_environment.sh"
export KERAS_BACKEND=${KERAS_BACKEND:-jax} # several processes at once: small nets leave most of the card idle

timeout "$LIMIT" python3 examples/image_sweep.py --output "$OUTPUT" --groups ${GROUPS_:-paper} --seeds "${SEEDS:-3}" \
    --jobs "${JOBS:-8}" -- --data "$DATA" "$@"
echo
python3 examples/image_report.py "$OUTPUT"
