"""Our own checkpoints as one of the layouts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ernie_paddle.checkpoints.detect import OURS
from ernie_paddle.checkpoints.heads import FoundHead, find_head
from ernie_paddle.checkpoints.model_dir import PARAMETERS, model_documents, open_model_dir, tokenizer_files
from ernie_paddle.checkpoints.origin import ORIGIN, origin_document, read_origin
from ernie_paddle.checkpoints.vocabulary import with_tokenizer
from ernie_paddle.checkpoints.weights import Renamed, Weights, floats_only
from propeller.errors import UserError
from propeller.run import checkpoint


def read_ours(path: Path, vocab: Path | None, layer_norm_eps: float | None) -> Weights:
    """Read a checkpoint, or the best one of a run's folder.

    Raises:
        UserError: There is no checkpoint, it is damaged, or it states another epsilon.
        DataError: The vocabulary is unusable.
    """
    model = open_model_dir(path)
    config = model.config
    if layer_norm_eps is not None and layer_norm_eps != config.layer_norm_eps:
        raise UserError(f"{model.path}: layer_norm_eps is {config.layer_norm_eps}; remove --layer_norm_eps")
    renamed = Renamed()
    for name, array in floats_only(model.parameters(), renamed).items():
        renamed.put(name, array, name)
    notes, origin = [], read_origin(model.path)
    if model.task_settings is not None:
        head = FoundHead()
        notes.append(f"fine-tuned for {model.task_settings.get('type')}; its settings (task.json) are not converted")
    elif origin is not None:
        family, head = origin
        config = dataclasses.replace(config, family=family)  # earlier versions wrote the family only there
    else:
        head = find_head({}, renamed.arrays, renamed.sources)
    found = renamed.weights(model.path, OURS, config, notes, head)
    found = dataclasses.replace(found, tokenizer=model.tokenizer, task_settings=model.task_settings)
    return found if vocab is None else with_tokenizer(found, (), vocab)


def write_ours(folder: Path, weights: Weights, family: str) -> None:
    """Write a checkpoint of step 0 that `ernie finetune --model` takes.

    Raises:
        UserError: There is no vocabulary.
    """
    if weights.tokenizer is None:
        raise UserError(f"{weights.path}: holds no vocabulary that can be read; give it with --vocab FILE")
    with tokenizer_files(weights.tokenizer) as files:
        documents = {**model_documents(weights.config, None), ORIGIN: origin_document(weights, family)}
        checkpoint.save(folder, 0, {PARAMETERS: weights.arrays}, documents, files)
