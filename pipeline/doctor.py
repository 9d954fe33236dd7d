"""Finds what is wrong with a machine before it goes wrong half-way.

    python3 pipeline/doctor.py machine      before there is an environment: any Python 3 runs this
    python  -m pipeline.doctor packages     inside the environment: is what the lock names there?

Each fault is one line with the command that mends it. Keep this file in plain old syntax: an old
Python has to be able to read it, in order to say that it is too old.
"""

import os
import re
import shutil
import sys

OLDEST = (3, 11)
NEWER_NAMES = ("python3.13", "python3.12", "python3.11")
SPACE_FOR_ENVIRONMENT = 4e9
SPACE_FOR_BUILD = 1e9

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def version_fault(version=sys.version_info):  # type: ignore[no-untyped-def]
    """Return what is wrong with this Python's version, or None."""
    if tuple(version[:2]) >= OLDEST:
        return None
    text = "Python {}.{} or newer is needed, and this is {}.{}".format(*OLDEST, *version[:2])
    for name in NEWER_NAMES:
        if shutil.which(name):
            return f"{text}: run `make book PYTHON={name}`"
    return text + ": install a newer one, then run `make book PYTHON=/path/to/python3`"


def venv_fault():  # type: ignore[no-untyped-def]
    """Return what is missing to create an environment, or None."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return (
            "this Python cannot create environments: run `apt-get install python3-venv` "
            "(Debian, Ubuntu; as root), then the same command again"
        )
    return None


def disk_fault(root=ROOT):  # type: ignore[no-untyped-def]
    """Return how much disk space is missing, or None."""
    ready = os.path.exists(os.path.join(root, ".venv", ".ready"))
    needed = SPACE_FOR_BUILD if ready else SPACE_FOR_ENVIRONMENT
    free = shutil.disk_usage(root).free
    if free >= needed:
        return None
    return (
        f"the disk is full: {free / 1e9:.1f} GB are free in {root}, and {needed / 1e9:.0f} GB are "
        "needed: free some space (`make clean` removes what was built), then run the same command "
        "again"
    )


def locked_versions(root=ROOT):  # type: ignore[no-untyped-def]
    """Return the version that the lock file names for every package."""
    with open(os.path.join(root, "requirements.lock"), encoding="utf8") as lock:
        pinned = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", lock.read(), re.MULTILINE)
    return dict(pinned)


def package_fault(root=ROOT):  # type: ignore[no-untyped-def]
    """Return which installed package is missing or differs from the lock file, or None."""
    from importlib.metadata import PackageNotFoundError, version

    wrong = []
    for name, wanted in sorted(locked_versions(root).items()):
        try:
            found = version(name).split("+")[0]
        except PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        if found != wanted:
            wrong.append(f"{name} is {found} instead of {wanted}")
    if not wrong:
        return None
    more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
    return (
        f"the environment differs from requirements.lock: {', '.join(wrong[:3])}{more}: "
        "run `rm -f .venv/.ready && make environment`"
    )


def install_fault():  # type: ignore[no-untyped-def]
    """Return why an installation may have failed: the network, or the disk."""
    return disk_fault() or (
        "pip could not install requirements.lock (its own words are above): check the network, "
        "then run the same command again; what is already installed is kept"
    )


CHECKS = {
    "machine": (version_fault, venv_fault, disk_fault),
    "packages": (version_fault, disk_fault, package_fault),
    "install": (install_fault,),
}


def main(arguments):  # type: ignore[no-untyped-def]
    """Print the first fault as one line; return the exit code."""
    for check in CHECKS[arguments[0] if arguments else "machine"]:
        fault = check()
        if fault:
            sys.stderr.write(f"error: {fault}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
