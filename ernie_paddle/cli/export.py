"""Export a checkpoint as a Paddle Inference model with everything that `ernie predict` needs.

A fine-tuned checkpoint is exported with its predictions, a pre-trained one as an encoder that outputs vectors.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ernie_paddle import option_kinds as kinds
from ernie_paddle.cli import options as opt


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    opt.option(parser, "--model", Path, kinds.REQUIRED, "checkpoint, or folder of a run (its best checkpoint)")
    opt.option(parser, "--output", Path, kinds.REQUIRED, "folder of the exported model; an earlier export is replaced")


def run(args: argparse.Namespace) -> int:
    """Export the model and print its location."""
    from ernie_paddle.checkpoints.model_dir import model_documents, open_model_dir, tokenizer_files
    from ernie_paddle.finetune.serving.answering import answer_task
    from ernie_paddle.finetune.serving.encoder_program import encoder_task
    from ernie_paddle.finetune.task_type import task_of
    from propeller.device import distributed
    from propeller.serving.export import export_program

    if distributed.rank() != 0:
        return 0
    model = open_model_dir(args.model)
    parameters = model.parameters()
    tuned = task_of(model)
    if tuned is not None:
        task, what = answer_task(tuned, model.config), tuned.type
    else:
        heads = sorted({name.partition(".")[0] for name in parameters} - {"ernie"})
        what = "the encoder" + (f", without {', '.join(heads)}" if heads else "")
        task = encoder_task(model.config, with_pooled="ernie.pooler.dense.weight" in parameters)
    with tokenizer_files(model.tokenizer) as files:
        export_program(
            args.output,
            task,
            parameters,
            metadata={"checkpoint": model.path.name},
            documents=model_documents(model.config, model.task_settings),
            files=files,
        )
    size = sum(path.stat().st_size for path in args.output.iterdir())
    print(f"exported {model.path} ({what}) to {args.output} ({size / 1e6:.1f} MB)")
    return 0
