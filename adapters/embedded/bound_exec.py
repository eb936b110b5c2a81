"""Turn into another program that cannot outlive the process that asked for it.

    python -I -S bound_exec.py PARENT_PID DEATH_SIGNAL UID GID CAPABILITY PROGRAM [ARGUMENT...]

A wrapper rather than `preexec_fn`, which runs Python between fork and exec, beside the locks of other threads.
It drops privileges itself (UID -1 keeps them), because the death signal is forgotten whenever they change, and
because the account it drops to may not be able to run this interpreter at all. That account keeps one capability,
unless CAPABILITY is -1.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAPABILITY_VERSION_3 = 0x20080522
PARENT_GONE = 125


def main() -> None:
    parent, death_signal, uid, gid, capability = (int(word) for word in sys.argv[1:6])
    argv = sys.argv[6:]
    if uid >= 0:
        change_account(uid, gid, capability)
    if sys.platform == "linux":
        prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:  # it died before the line above
        sys.exit(PARENT_GONE)
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored_by_python, signal.SIG_DFL)
    os.execv(argv[0], argv)  # noqa: S606 - the argument list is our caller's


def change_account(uid: int, gid: int, capability: int) -> None:
    """Become this account for good. Privileges go, but for `capability`, which survives exec."""
    if capability >= 0:
        prctl(PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if capability >= 0:
        header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
        only = 1 << capability  # effective, permitted, inheritable; then the same for capabilities beyond 31
        checked(ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)(only, only, only, 0, 0, 0)))
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


def prctl(option: int, *arguments: int) -> None:
    words = [ctypes.c_ulong(word) for word in (*arguments, 0, 0, 0, 0)[:4]]
    checked(ctypes.CDLL(None, use_errno=True).prctl(option, *words))


def checked(result: int) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


if __name__ == "__main__":
    main()
