#!/bin/sh
# Prints a Python from 3.11 to 3.13 that can make virtual environments: the one given, or the first that is found.
check='import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
for candidate in ${1:-python3 python3.12 python3.11 python3.13 python}; do
    if "$candidate" -c "$check" >/dev/null 2>&1; then
        echo "$candidate"
        exit 0
    fi
done
echo "Expected Python 3.11, 3.12 or 3.13 with its venv module (on Debian: apt-get install python3-venv)." \
     "Found: ${1:-$(python3 --version 2>&1)}. Give one as in: make search PYTHON=/path/to/python3.12" >&2
exit 1
