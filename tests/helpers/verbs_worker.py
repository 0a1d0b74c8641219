"""Started on every rank: runs verbs of `ernie`, whose words a JSON file lists, one after the other."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ernie_paddle.cli.main import main

if __name__ == "__main__":
    for words in json.loads(Path(sys.argv[1]).read_text()):
        if code := main(words):
            sys.exit(code)
