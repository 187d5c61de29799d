"""Linux namespaces and mounts, as thin calls into the kernel: what `unshare`, `nsenter` and `mount` do.

Numbers of the calls that glibc 2.36 doesn't wrap are the same on every architecture (they are newer than 5.1).
"""

from __future__ import annotations

import ctypes
import os
import socket
from pathlib import Path

# Flags of unshare(2) and setns(2).
NEWNS = 0x00020000
NEWUTS = 0x04000000
NEWIPC = 0x08000000
NEWUSER = 0x10000000
NEWPID = 0x20000000
NEWNET = 0x40000000

# Flags of mount(2).
MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000

_MNT_DETACH = 0x2
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_SYS_MOUNT_SETATTR = 442
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 0x1

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

# Capabilities that no machine needs and that reach past its namespaces when it runs as the host's root.
_DANGEROUS_CAPABILITIES = {
    "mknod": 27,
    "sys_module": 16,
    "sys_rawio": 17,
    "sys_boot": 22,
    "sys_time": 25,
    "mac_override": 32,
    "mac_admin": 33,
    "syslog": 34,
    "wake_alarm": 35,
    "block_suspend": 36,
    "bpf": 39,
}

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Moves the calling thread (`NEWUSER`, `NEWNS`: the process, which has one thread) into new namespaces."""
    _check(_libc.unshare(flags), "unshare")


def enter_user_namespace(inner_uid: int = 0, inner_gid: int = 0) -> None:
    """Enters a new user namespace in which the caller's ids appear as `inner_uid` and `inner_gid`.

    An unprivileged user may map one id only, its own. The caller keeps its rights on files and gets every capability
    in the new namespace.
    """
    uid, gid = os.geteuid(), os.getegid()
    unshare(NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{inner_uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{inner_gid} {gid} 1")


def mount(source: str | Path, target: str | Path, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mounts a file system, or with `MS_BIND` a file or folder.

    Raises:
        OSError: with both paths in its text.
    """
    result = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        options.encode() or None,
    )
    _check(result, f"mount {kind or source} on {target}")


def bind(source: Path, target: Path, *, read_only: bool) -> None:
    """Shows the file or folder `source`, with what is mounted below it, at `target` (which exists)."""
    mount(source, target, flags=MS_BIND | MS_REC)
    if read_only:
        # mount_setattr only adds the flag: a remount would have to repeat flags that a user namespace can't change.
        attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY, 0, 0, 0)
        result = _libc.syscall(
            ctypes.c_long(_SYS_MOUNT_SETATTR),
            ctypes.c_int(_AT_FDCWD),
            os.fsencode(target),
            ctypes.c_uint(_AT_RECURSIVE),
            ctypes.byref(attributes),
            ctypes.c_size_t(ctypes.sizeof(attributes)),
        )
        _check(result, f"make {target} read-only (needs Linux 5.12)")


def pivot_root(new_root: Path) -> None:
    """Makes `new_root`, a mount point, the root folder and lets go of the old one."""
    os.chdir(new_root)
    number = _SYS_PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(f"pivot_root: its number on {os.uname().machine} is not known; add it to _SYS_PIVOT_ROOT")
    _check(_libc.syscall(ctypes.c_long(number), b".", b"."), f"pivot_root {new_root}")
    # The old root now lies over the new one, at the same place.
    _check(_libc.umount2(b".", _MNT_DETACH), "unmount the old root")
    os.chdir("/")


def set_hostname(name: str) -> None:
    """The host name of the UTS namespace."""
    socket.sethostname(name)


def set_process_name(name: str) -> None:
    """What `ps` shows as the command, at most 15 bytes."""
    _check(_libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0), "prctl NAME")


def die_with_parent(signal_number: int) -> None:
    """The kernel sends this process the signal when the thread that is its parent ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl PDEATHSIG")


def become_subreaper() -> None:
    """Orphaned descendants become children of this process."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl CHILD_SUBREAPER")


def no_new_privileges() -> None:
    """Set-uid programs give nothing to this process and its children from now on."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl NO_NEW_PRIVS")


def drop_dangerous_capabilities() -> None:
    """Takes out of the bounding set what would let a machine's root reach the host's kernel settings and devices."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for name, number in _DANGEROUS_CAPABILITIES.items():
        if number <= last:
            _check(_libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), f"drop capability {name}")
