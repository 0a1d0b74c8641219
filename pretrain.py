"""Launch target for pre-training: `fleetrun --gpus 0-7 pretrain.py [options of ernie pretrain]`."""

import sys

from ernie_paddle.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["pretrain", *sys.argv[1:]]))
