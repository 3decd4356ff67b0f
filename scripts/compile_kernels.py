"""Compile every CUDA kernel for sm_90, in float32 and float64, without a GPU, a driver or nvcc.

Fails if a kernel does not compile, if a float32 kernel contains a float64 instruction, or if the linker
reports spilled registers. Needs ``pip install "primeattn[cuda]"``.
"""

import argparse
import importlib
import itertools
import pkgutil
import re
import sys

import numba.cuda.dispatcher
from numba import cuda, types

import primeattn
from primeattn._runtime.owners import OWNERS

MAX_REGISTERS = 128  # 512 resident threads on an SM with 65,536 registers

# name of the owner -> why its float32 kernel may hold float64 instructions, or may spill
EXCEPTIONS: dict[str, str] = {}


def _import_everything():
    for module in pkgutil.walk_packages(primeattn.__path__, "primeattn."):
        if not module.name.startswith("primeattn.cli"):
            importlib.import_module(module.name)


def _signature(owner, floating, kind):
    plain = {
        "K": kind and types.BaseTuple.from_types([floating] * len(kind._fields), kind),
        "F": floating,
        "i": types.int64,
        "F1": floating[::1],
        "F2": floating[:, ::1],
        "I1": types.int64[::1],
        "J1": types.int32[::1],
        "U1": types.uint8[::1],
    }

    def of(token):
        return types.Tuple([of(t) for t in token[1:-1].split(",")]) if token[0] == "(" else plain[token]

    return types.void(types.int64, *(of(token) for token in owner.signature))


def compile_ptx(owner, floating, kind=None, capability=(9, 0)) -> str:
    """The PTX of the owner's CUDA kernel for one floating type, and one of its kinds if it has any."""

    class Device:  # device functions ask the current device for its capability
        compute_capability = capability

    original = numba.cuda.dispatcher.get_current_device
    numba.cuda.dispatcher.get_current_device = lambda: Device
    try:
        signature = _signature(owner, floating, kind)
        ptx, _ = cuda.compile(owner.cuda_function(), signature, cc=capability, device=False, abi="numba", output="ptx")
    finally:
        numba.cuda.dispatcher.get_current_device = original
    return ptx


def link(ptx: str, capability=(9, 0)) -> dict[str, int]:
    """Link PTX to machine code; registers, spilled bytes and shared memory as the linker reports them."""
    from cuda.core import Linker, LinkerOptions, ObjectCode

    options = LinkerOptions(arch=f"sm_{capability[0]}{capability[1]}", verbose=True, ptxas_options=["-v"])
    linker = Linker(ObjectCode.from_ptx(ptx.encode()), options=options)
    linker.link("cubin")
    log = linker.get_info_log() or ""

    def read(pattern):
        found = re.search(pattern, log)
        return int(found.group(1)) if found else 0

    return {
        "registers": read(r"Used (\d+) registers"),
        "spills": read(r"(\d+) bytes spill stores") + read(r"(\d+) bytes spill loads"),
        "stack": read(r"(\d+) bytes stack"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="compile owners whose name contains this")
    only = parser.parse_args().only
    _import_everything()
    failures = []
    print(f"{'kernel':40} {'type':8} {'regs':>5} {'spills':>6} {'stack':>6} {'.f64':>5}")
    for owner in OWNERS:
        if only not in owner.name:
            continue
        for kind, floating in itertools.product(owner.kinds or (None,), (types.float32, types.float64)):
            ptx = compile_ptx(owner, floating, kind)
            used = link(ptx)
            doubles = len(re.findall(r"\.f64", ptx))
            name = f"{owner.name} {kind.__name__}" if kind else owner.name
            print(f"{name:40} {floating!s:8} {used['registers']:5} {used['spills']:6} {used['stack']:6} {doubles:5}")
            if owner.name in EXCEPTIONS:
                continue
            if floating is types.float32 and doubles:
                failures.append(f"{name}: {doubles} float64 instructions in the float32 kernel")
            if used["spills"]:
                failures.append(f"{name} {floating}: {used['spills']} bytes spilled")
            if used["registers"] > MAX_REGISTERS:
                failures.append(f"{name} {floating}: {used['registers']} registers, {MAX_REGISTERS} allowed")
    if not OWNERS:
        failures.append("no kernel was found")
    print(*failures, sep="\n")
    print(f"{len(OWNERS)} kernels, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
