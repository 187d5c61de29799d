"""Lets chown succeed without effect in machines that have one user id only.

An ordinary user of the host can map one id into a machine, so every file there belongs to it, under whatever number a
process looks. `chown opensearch: ...` of user data can't be carried out and need not be: every account of the machine
has the rights of the one id. The filter answers the calls with success, as rootless container builders do.
"""

from __future__ import annotations

import ctypes
import os
import struct

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_RET_ALLOW = 0x7FFF0000
_RET_ERRNO_0 = 0x00050000  # don't run the call, return 0

# (AUDIT_ARCH, numbers of chown, fchown, lchown, fchownat and setgroups)
_CALLS = {
    "x86_64": (0xC000003E, (92, 93, 94, 260, 116)),
    "aarch64": (0xC00000B7, (55, 54, 159)),
}
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE = 0, 4


def program(architecture: int, numbers: tuple[int, ...]) -> bytes:
    """The filter: `numbers` of `architecture` return 0, everything else runs (struct sock_filter, in a row)."""
    lines = [
        (_LOAD, 0, 0, _OFFSET_ARCHITECTURE),
        (_JUMP_EQUAL, 0, len(numbers) + 1, architecture),
        (_LOAD, 0, 0, _OFFSET_NUMBER),
        *((_JUMP_EQUAL, len(numbers) - index, 0, number) for index, number in enumerate(numbers)),
        (_RETURN, 0, 0, _RET_ALLOW),
        (_RETURN, 0, 0, _RET_ERRNO_0),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def pretend_ownership() -> None:
    """Installs the filter in this process and all that come from it.

    Raises:
        OSError: the kernel has no seccomp filters, or runs on an architecture whose numbers aren't known here.
    """
    known = _CALLS.get(os.uname().machine)
    if known is None:
        raise OSError(f"numbers of chown on {os.uname().machine} are not known; add them to _CALLS")
    code = program(*known)
    argument = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(argument), 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp filter: {os.strerror(number)}")
