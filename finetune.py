"""Launch target: `fleetrun --gpus 0-7 finetune.py …` runs `ernie finetune …` on every device."""

import sys

from ernie_paddle.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["finetune", *sys.argv[1:]]))
