# Sourced by the scripts for a CUDA machine. The machine needs PyTorch, JAX (both for CUDA) and numpy. Wheels of whatever else
# is missing (keras, optree, namex) can lie in the folder WHEELS (default: .whl); they are unpacked beside, not installed.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
WHEELS=${WHEELS:-.whl}
LIMIT=${LIMIT:-510} # seconds
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
if compgen -G "$WHEELS/*.whl" > /dev/null; then
    python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$WORK/site" "$WHEELS"/*.whl || exit 1
fi
export WORK PYTHONPATH="$WORK/site:$PWD${PYTHONPATH:+:$PYTHONPATH}"
# Processes share the card, so none may take its memory in advance.
export TF_CPP_MIN_LOG_LEVEL=3 XLA_PYTHON_CLIENT_PREALLOCATE=false
