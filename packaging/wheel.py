"""Packs a binary that exists, and the Python sources beside it, into a wheel like the one that maturin builds.

    python3 packaging/wheel.py BINARY OUT
"""

from __future__ import annotations

import base64
import hashlib
import sys
import tomllib
import zipfile
from pathlib import Path

import program

PROJECT = program.ROOT / "packaging/python"


def main(binary: Path, out: Path) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    version, tag = program.version(), program.wheel_tag(binary)
    stem = f"{project['name'].replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    # Path in the wheel, content, and whether it is a program.
    sources = sorted(path for path in (PROJECT / "src").rglob("*") if path.suffix == ".py" or path.name == "py.typed")
    files = [(path.relative_to(PROJECT / "src").as_posix(), path.read_bytes(), False) for path in sources]
    files += [
        (f"{stem}.data/scripts/{program.file_name(program.platform(binary))}", binary.read_bytes(), True),
        (f"{info}/METADATA", metadata(project, version).encode(), False),
        (f"{info}/WHEEL", wheel(tag).encode(), False),
        (f"{info}/entry_points.txt", entry_points(project).encode(), False),
        (f"{info}/sboms/fake-openai.cyclonedx.json", (program.ROOT / "notices/sbom.cdx.json").read_bytes(), False),
    ]
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{stem}-py3-none-{tag}.whl"
    record = "".join(f"{name},sha256={digest(content)},{len(content)}\n" for name, content, _ in files)
    files.append((f"{info}/RECORD", (record + f"{info}/RECORD,,\n").encode(), False))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, is_program in files:
            # A constant time: the same inputs make the same bytes.
            member = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = (0o100755 if is_program else 0o100644) << 16
            archive.writestr(member, content)
    print(path)


def metadata(project: dict, version: str) -> str:
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {version}",
        *(f"Classifier: {classifier}" for classifier in project["classifiers"]),
        f"Summary: {project['description']}",
        f"Keywords: {','.join(project['keywords'])}",
        f"License-Expression: {project['license']}",
        f"Requires-Python: {project['requires-python']}",
        "Description-Content-Type: text/markdown; charset=UTF-8; variant=GFM",
    ]
    return "\n".join(lines) + "\n\n" + (PROJECT / project["readme"]).read_text()


def wheel(tag: str) -> str:
    tags = "".join(f"Tag: py3-none-{part}\n" for part in tag.split("."))
    return f"Wheel-Version: 1.0\nGenerator: fake-openai packaging/wheel.py\nRoot-Is-Purelib: false\n{tags}"


def entry_points(project: dict) -> str:
    groups = project["entry-points"].items()
    return "\n".join(f"[{group}]\n" + "".join(f"{k}={v}\n" for k, v in entries.items()) for group, entries in groups)


def digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
