"""The program to be packaged: its version, and the platform that its binary is for."""

from __future__ import annotations

import json
import re
import struct
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLATFORMS: dict[str, dict[str, str]] = json.loads((ROOT / "packaging/platforms.json").read_text())

_ELF = {62: "x64", 183: "arm64"}
_MACH_O = {0x01000007: "x64", 0x0100000C: "arm64"}
_PE = {0x8664: "x64", 0xAA64: "arm64"}


def version() -> str:
    return tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]


def platform(path: Path) -> str:
    """The platform of a binary, as in platforms.json, from the binary's own head."""
    head = path.read_bytes()[:4096]
    name = None
    if head[:4] == b"\x7fELF":
        name = "linux", _ELF.get(struct.unpack_from("<H", head, 18)[0])
    elif head[:4] == b"\xcf\xfa\xed\xfe":
        name = "darwin", _MACH_O.get(struct.unpack_from("<I", head, 4)[0])
    elif head[:2] == b"MZ":
        name = "win32", _PE.get(struct.unpack_from("<H", head, struct.unpack_from("<I", head, 60)[0] + 4)[0])
    found = "-".join(map(str, name)) if name else None
    if found not in PLATFORMS:
        raise SystemExit(f"{path}: not a binary for {', '.join(PLATFORMS)}; build one, or add the platform")
    return found


def file_name(platform: str) -> str:
    return "fake-openai.exe" if platform.startswith("win32") else "fake-openai"


def wheel_tag(path: Path) -> str:
    """The platform tag of a wheel. A Linux binary names the oldest C library that it runs with; a static one, any."""
    tag = PLATFORMS[platform(path)]["wheel"]
    if not tag.startswith("linux_"):
        return tag
    machine = tag.removeprefix("linux_")
    symbols = {int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)", path.read_bytes())}
    if _is_static(path):
        return f"manylinux_2_17_{machine}.musllinux_1_1_{machine}"
    if not symbols:
        return f"musllinux_1_1_{machine}"
    return f"manylinux_2_{max(17, *symbols)}_{machine}"


def _is_static(path: Path) -> bool:
    """Tests whether an ELF file names no loader (a program header of type PT_INTERP)."""
    data = path.read_bytes()
    offset, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    return all(struct.unpack_from("<I", data, offset + index * size)[0] != 3 for index in range(count))
