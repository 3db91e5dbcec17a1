"""Packs the npm package, and the package of one platform with a binary that exists.

    python3 packaging/npm.py BINARY OUT
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import program

SOURCE = program.ROOT / "packaging/node"


def main(binary: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    version, platform = program.version(), program.platform(binary)
    with tempfile.TemporaryDirectory() as folder:
        main_folder, platform_folder = Path(folder, "main"), Path(folder, platform)
        shutil.copytree(SOURCE, main_folder, ignore=shutil.ignore_patterns("node_modules", "test"))
        package = json.loads((SOURCE / "package.json").read_text())
        package["version"] = version
        package["optionalDependencies"] = {f"@fake-openai/{name}": version for name in program.PLATFORMS}
        if repository := os.environ.get("GITHUB_REPOSITORY"):
            # npm compares it with the workflow that publishes.
            package["repository"] = {"type": "git", "url": f"git+https://github.com/{repository}.git"}
        pack(main_folder, package, out)

        system = program.PLATFORMS[platform]
        name = program.file_name(platform)
        (platform_folder / "bin").mkdir(parents=True)
        shutil.copy(binary, platform_folder / "bin" / name)
        (platform_folder / "bin" / name).chmod(0o755)
        (platform_folder / "README.md").write_text(f"The binary of `fake-openai` for {platform}.\n")
        shared = {key: package[key] for key in ("license", "engines", "repository") if key in package}
        description = f"The binary of fake-openai for {platform}"
        own = {"name": f"@fake-openai/{platform}", "version": version, "description": description, **shared}
        # Yarn's zip archives hold no programs that can be started.
        own |= {"os": [system["os"]], "cpu": [system["cpu"]], "preferUnplugged": True, "files": ["bin"]}
        pack(platform_folder, own, out)


def pack(folder: Path, package: dict, out: Path) -> None:
    (folder / "package.json").write_text(json.dumps(package, indent=2) + "\n")
    shutil.copy(program.ROOT / "LICENSE", folder)
    command = ["npm", "pack", "--silent", "--pack-destination", str(out.resolve())]
    # npm is a script for the shell on Windows.
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, shell=sys.platform == "win32")
    print(out / done.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
