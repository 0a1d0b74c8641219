"""Switching Paddle to static mode, and checking that propeller works with this version of Paddle."""

from __future__ import annotations

import os

import paddle

from propeller.errors import UserError


def enable() -> None:
    """Switch Paddle to static graphs.

    Raises:
        UserError: Paddle is older than 3.3, or its new graph representation (PIR) is switched off.
    """
    version = paddle.__version__
    numbers = [int(part) for part in version.split(".")[:2] if part.isdigit()]
    # A build from source calls itself 0.0.0.
    if numbers[:1] != [0] and tuple(numbers) < (3, 3):
        raise UserError(
            f"PaddlePaddle {version} is too old: its static graphs have no PIR; install paddlepaddle or "
            "paddlepaddle-gpu 3.3 (the default package index has only 2.6.2 of the GPU build; 3.x comes from "
            "Paddle's own index)"
        )
    paddle.enable_static()
    if not paddle.framework.in_pir_mode():
        raise UserError(
            "PaddlePaddle's PIR is switched off; unset FLAGS_enable_pir_api (or set it to 1) and start again"
        )


def on_gpu() -> bool:
    """Whether Programs run on a GPU: this build of Paddle supports GPUs, and a GPU is visible."""
    return bool(paddle.is_compiled_with_cuda()) and paddle.device.cuda.device_count() > 0


def place() -> paddle.base.core.Place:
    """The device that this process computes on: the GPU that the launcher gave it, or the CPU."""
    if not on_gpu():
        return paddle.CPUPlace()
    # The launcher shows each process only its own GPU, or names it in this variable.
    index = int(os.environ.get("FLAGS_selected_gpus", "0").split(",")[0] or 0)  # noqa: SIM112
    return paddle.CUDAPlace(index)
