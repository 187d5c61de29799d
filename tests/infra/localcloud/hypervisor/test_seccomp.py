"""The filter is the one that was meant: run here by a few lines that do what the kernel does."""

import struct

from infra.localcloud.hypervisor import seccomp

X86 = 0xC000003E


def _run(code: bytes, architecture: int, number: int) -> int:
    lines = [struct.unpack_from("=HBBI", code, start) for start in range(0, len(code), 8)]
    at, value = 0, 0
    while True:
        operation, yes, no, operand = lines[at]
        at += 1
        if operation == 0x20:
            value = {0: number, 4: architecture}[operand]
        elif operation == 0x15:
            at += yes if value == operand else no
        else:
            return int(operand)


def test_the_named_calls_succeed_without_effect() -> None:
    code = seccomp.program(X86, (92, 93, 260))
    assert [_run(code, X86, number) for number in (92, 93, 260)] == [0x00050000] * 3
    assert [_run(code, X86, number) for number in (0, 91, 94, 261)] == [0x7FFF0000] * 4
    assert _run(code, 0x40000003, 92) == 0x7FFF0000
