"""Says in words what is wrong with an interpreter that cannot run Flowrra; written so that any Python can read it."""

import sys

REMEDY = "name another one: make test PYTHON=python3.12"


def main():
    if sys.version_info < (3, 11):  # noqa: UP036 - finding that out is what this file is for
        sys.exit(
            "Flowrra needs Python 3.11 or newer, but "
            + sys.executable
            + " is "
            + sys.version.split()[0]
            + "; "
            + REMEDY
        )
    if not _can_make_environments():
        # Debian keeps this part of the standard library in a package of its own.
        package = "python" + ".".join(map(str, sys.version_info[:2])) + "-venv"
        import machine

        machine.install([package])
        if not _can_make_environments():
            sys.exit(sys.executable + " cannot make virtual environments; install " + package + ", or " + REMEDY)


def _can_make_environments():
    import importlib.util

    importlib.invalidate_caches()
    return importlib.util.find_spec("ensurepip") is not None


main()
