#!/bin/sh
# Print the interpreter called $1, such as python3.12, if it really runs. A pyenv shim whose version is not selected
# exists but does not run; the interpreter behind it does.
for candidate in "$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"${1#python}".*/bin/python; do
    if "$candidate" -c "" >/dev/null 2>&1; then
        echo "$candidate"
        exit
    fi
done
exit 1
