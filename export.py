"""Launch target: `fleetrun --gpus 0-7 export.py …` runs `ernie export …` on every device."""

import sys

from ernie_paddle.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
