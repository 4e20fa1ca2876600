"""A system call filter under which changing a file's owner does nothing and succeeds.

A user namespace that maps one user knows no other: the kubelet's chown to a pod's runAsUser or fsGroup fails there,
and volumes of such pods with it. Every process of the node is the same user, so that nothing is lost.
"""

import ctypes
import platform
import struct

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
RET_ALLOW, RET_SUCCESS_UNDONE = 0x7FFF0000, 0x00050000
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
OFFSET_NUMBER, OFFSET_ARCHITECTURE = 0, 4
# Architecture as the kernel names it, and the numbers of chown, fchown, lchown, fchownat.
CALLS = {"x86_64": (0xC000003E, (92, 93, 94, 260)), "aarch64": (0xC00000B7, (54, 55))}


def instruction(code: int, value: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    """One instruction of classic BPF."""
    return struct.pack("=HBBI", code, if_true, if_false, value)


def program(machine: str) -> bytes:
    """The filter: chown and its relatives are answered with success, all else is let through."""
    architecture, numbers = CALLS[machine]
    tests = [instruction(JUMP_IF_EQUAL, number, if_true=len(numbers) - index) for index, number in enumerate(numbers)]
    return b"".join(
        [
            instruction(LOAD_WORD, OFFSET_ARCHITECTURE),
            # A call of another architecture has other numbers: on to the "allow" behind the tests.
            instruction(JUMP_IF_EQUAL, architecture, if_false=1 + len(numbers)),
            instruction(LOAD_WORD, OFFSET_NUMBER),
            *tests,
            instruction(RETURN, RET_ALLOW),
            instruction(RETURN, RET_SUCCESS_UNDONE),
        ]
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def ignore_chown() -> None:
    """Apply the filter to this process and all that it becomes. Needs CAP_SYS_ADMIN in its user namespace.

    Raises OSError when the kernel refuses.
    """
    code = program(platform.machine())
    libc = ctypes.CDLL(None, use_errno=True)
    wanted = _Program(len(code) // 8, code)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(wanted), 0, 0) < 0:
        number = ctypes.get_errno()
        raise OSError(number, "prctl seccomp")
