#!/usr/bin/env bash
# The speed benchmarks on a CUDA machine, a part of at most 9 minutes a call; prints the tables of all parts so far last.
#
# Usage: bash benchmarks/gpu_speed.sh small|dispatch|large|loops|start|gaps [folder for the lines]
# What the machine needs: see gpu_environment.sh; "large" needs KerasHub, "loops" timm for EfficientNet.
set -uo pipefail
PART=$1
FOLDER=$(realpath -m "${2:-benchmarks/results/speed}")
source "$(dirname "$0")/gpu_environment.sh"
TINY=${TINY:-} # tries the script itself, anywhere

measure() { # backend, benchmark, arguments
    local backend=$1 benchmark=$2
    shift 2
    [[ -z $TINY ]] || set -- "$@" --side 8 --batch 2 --steps 2 --rounds 1
    echo "== $backend $benchmark $*"
    ((SECONDS < LIMIT)) || { echo "no time left: call this part again" >&2; return 1; } # `timeout 0` would mean no limit
    KERAS_BACKEND=$backend timeout "$((LIMIT - SECONDS))" python3 -W ignore "benchmarks/$benchmark.py" "$@" \
        --output "$FOLDER/$benchmark.jsonl" 2>&1 | tail -n 20
}

case $PART in
small)
    for backend in torch jax; do
        measure $backend overhead --pairs resnet-20/32 resnet-20/20-wide --batch 128 --steps 50 --rounds 5
    done
    ;;
dispatch)
    measure jax overhead --pairs resnet-20/32 --batch 128 --steps 64 --rounds 5 --dispatch graph
    for n in 8 32; do
        measure jax overhead --pairs resnet-20/32 --batch 128 --steps 64 --rounds 5 --dispatch host --steps-per-execution $n
        measure jax overhead --pairs resnet-20/32 --batch 128 --steps 64 --rounds 5 --dispatch graph --steps-per-execution $n
    done
    ;;
large)
    for backend in torch jax; do
        for dtype in mixed_bfloat16 float32; do
            measure $backend overhead --pairs efficientnet-b0/b1 vit-tiny/small --side 224 --batch 64 --steps 12 --rounds 3 \
                --dtype $dtype
        done
    done
    ;;
loops)
    for backend in torch jax; do
        measure $backend pytorch_loops --pairs resnet-20/32 --batch 128 --steps 48 --rounds 5
        measure $backend pytorch_loops --pairs efficientnet-b0/b1 --side 224 --batch 64 --steps 24 --rounds 3 --amp
    done
    ;;
start)
    TINY=
    for backend in torch jax; do
        measure $backend startup --side 224 --batch 64 --rounds 1
    done
    ;;
gaps)
    measure torch gaps --pair resnet-20/32 --side 32 --batch 128 --steps 100
    measure torch gaps --pair efficientnet-b0/b1 --side 224 --batch 64 --steps 30 --dtype mixed_bfloat16
    ;;
*)
    echo "unknown part: $PART" >&2
    exit 2
    ;;
esac
echo
python3 benchmarks/tables.py "$FOLDER"/*.jsonl
