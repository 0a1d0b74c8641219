"""Convert weights between our checkpoints and the layouts of other projects, and report every tensor.

The layout of the source is detected by its files: our checkpoint, PaddleNLP's `model_state.pdparams`, Hugging Face's
`model.safetensors`, or a static release with a file for each variable.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ernie_paddle import option_kinds as kinds
from ernie_paddle.checkpoints.config_files import FAMILIES
from ernie_paddle.cli import options as opt
from propeller.errors import UserError

_FORMATS = ("ours", "hf", "paddlenlp", "static")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    opt.option(parser, "--from", Path, kinds.REQUIRED, "folder of the weights, in any layout")
    opt.option(parser, "--to", Path, kinds.REQUIRED, "new folder to write")
    opt.option(parser, "--format", str, "ours", "layout to write", choices=_FORMATS)
    opt.option(parser, "--vocab", Path, None, "vocabulary of the weights", shown_default="that of the source's folder")
    opt.option(
        parser,
        "--layer_norm_eps",
        kinds.positive_number,
        None,
        "epsilon of LayerNorm, if the source's configuration does not state it: 1e-5 in the static ERNIE releases, "
        "1e-12 in PaddleNLP, BERT and Hugging Face",
        shown_default="as stated",
    )
    opt.option(
        parser,
        "--family",
        str,
        None,
        "prefix of the tensor names for --format hf and paddlenlp",
        choices=FAMILIES,
        shown_default="the source's",
    )


def run(args: argparse.Namespace) -> int:
    """Read the weights, report the tensors, and write the weights."""
    from ernie_paddle.checkpoints.layouts import LAYOUTS, left_behind, open_model_folder, write_model_folder
    from ernie_paddle.checkpoints.shapes import Comparison, report
    from ernie_paddle.finetune.task_type import task_from_dict

    source, target = vars(args)["from"], args.to
    if source.resolve() == target.resolve():
        raise UserError(f"--to is the folder of --from ({source}); name a new folder")
    if args.family is not None and args.format not in ("hf", "paddlenlp"):
        raise UserError(
            f"--family is for --format hf and paddlenlp; {args.format} has no such prefix; remove the option"
        )
    weights = open_model_folder(source, args.vocab, args.layer_norm_eps)
    if weights.task_settings is not None:
        weights = weights.with_head(task_from_dict(weights.task_settings, str(weights.path)).head())
    comparison = Comparison.of(weights)
    for line in report(weights, comparison):
        print(line)
    config = weights.config
    print(
        f"from {LAYOUTS[weights.layout].title}: {config.num_hidden_layers} layers of {config.hidden_size}, "
        f"{config.hidden_act}, layer_norm_eps {config.layer_norm_eps:g}, {config.vocab_size:,} rows of words"
    )
    comparison.require_whole(weights)
    write_model_folder(target, weights, args.format, args.family)
    for sentence in left_behind(weights, args.format):
        print(f"note: {sentence}")
    print(f"written to {target} as {LAYOUTS[args.format].title}")
    return 0
