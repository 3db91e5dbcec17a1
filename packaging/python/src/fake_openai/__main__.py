"""``python -m fake_openai``: runs the program with the same arguments."""

from __future__ import annotations

import os
import subprocess
import sys

from ._admin import FakeOpenAIError
from ._server import binary


def main() -> int:
    try:
        command = [binary(), *sys.argv[1:]]
    except FakeOpenAIError as error:
        print(error, file=sys.stderr)
        return 1
    if os.name == "posix":
        # The program takes the place of this process, and gets its signals.
        os.execv(command[0], command)
    try:
        return subprocess.call(command)
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
