#!/usr/bin/env python3
"""Debian's Chromium, which does not see that networks of this machine come and go.

The tests make and remove networks all the time, side by side. Chromium watches all of them, and on
a change it ends its HTTP/2 connections: a request of another test's fails with ERR_NETWORK_CHANGED.
Where it can't open a netlink socket it watches none (`AddressTrackerLinux::Init`). So the kernel is
asked to refuse that socket to this process and its children, and Chromium takes its place.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from pathlib import Path

STEADY = str(Path(__file__).resolve())  # what to start in place of PROGRAM
PROGRAM = "/usr/bin/chromium"
# What stands for `socket` in a system call (asm/unistd.h), by machine.
_SOCKET = {"x86_64": 41, "aarch64": 198}
_NETLINK = 16  # AF_NETLINK
_REFUSED = 97  # EAFNOSUPPORT
# linux/prctl.h and linux/seccomp.h
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
# linux/bpf_common.h: load a word of `struct seccomp_data`, jump where it is equal, return
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _FIRST_ARGUMENT_AT = 0, 16  # bytes into `struct seccomp_data`, little-endian


def _filter(socket: int) -> bytes:
    """The BPF program: `struct sock_filter` one after the other."""
    lines = [
        (_LOAD, 0, 0, _NUMBER_AT),
        (_EQUAL, 0, 3, socket),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_EQUAL, 0, 1, _NETLINK),
        (_RETURN, 0, 0, _ERROR | _REFUSED),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def see_no_networks() -> None:
    """From now on this process and its children open no netlink socket. Raises OSError."""
    program = _filter(_SOCKET[platform.machine()])
    text = ctypes.create_string_buffer(program)
    described = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(text))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(
        _SET_SECCOMP, _FILTER, ctypes.c_char_p(described), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "no seccomp filter")


if __name__ == "__main__":
    see_no_networks()
    os.execv(PROGRAM, [PROGRAM, *sys.argv[1:]])
