#!/bin/sh
# Run a Python program with a Python that is new enough: $PYTHON where that is set, else the first that is found.
# With uv and no such Python, uv fetches one.
set -eu

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

if [ -n "${PYTHON:-}" ]; then
    if new_enough "$PYTHON"; then
        exec "$PYTHON" "$@"
    fi
    echo "PYTHON=$PYTHON is not a Python 3.11 or newer." >&2
    exit 1
fi
for python in python3 python3.14 python3.13 python3.12 python3.11 python; do
    if new_enough "$python"; then
        exec "$python" "$@"
    fi
done
if command -v uv >/dev/null 2>&1; then
    exec uv run --quiet --no-project --python '>=3.11' python "$@"
fi
echo "SecureChat needs Python 3.11 or newer and found none: install one, or name it, as in: make test PYTHON=/path/to/python3" >&2
exit 1
