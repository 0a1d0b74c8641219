"""Steps of several pre-training tasks over one set of parameters; run by `bench/tasks.py` in a separate process.

For each line of standard input, a JSON list of tasks, it runs a step of each in turn and reports the times.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import propeller  # noqa: F401 - sets the process up before Paddle is imported
from bench.spec import model_config


def main() -> None:
    """Serve steps; the first argument is the specification as JSON."""
    from ernie_paddle.pretraining.batches.step_data import TaskData
    from ernie_paddle.pretraining.model import build_task
    from propeller.graph.optim import OptimizerConfig
    from propeller.learner import Learner

    spec = json.loads(sys.argv[1])
    config = model_config(spec)
    learner = Learner(OptimizerConfig(weight_decay=0.01, clip_norm=1.0), seed=0)
    batches, tokens = {}, {}
    for name, objectives in spec["tasks"].items():
        # All tasks have one name, so that they draw the same documents and masks.
        data = TaskData(
            "bench", {o: {} for o in objectives}, [(spec["corpus"], 1.0)], spec["length"], batch_rows=spec["rows"]
        )
        reader = data.open()
        learner.add(build_task(name, reader.objectives, config, max_length=spec["length"]))
        batches[name] = reader.step(0).micro_batches
        tokens[name] = batches[name][0]["input_ids"].size
    for line in sys.stdin:
        times, cpu = [], []
        for name in json.loads(line):
            start, cpu_start = time.perf_counter(), time.process_time()
            learner.train_step(name, batches[name], 1e-4)
            times.append(1000 * (time.perf_counter() - start))
            cpu.append(1000 * (time.process_time() - cpu_start))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"ms": times, "cpu_ms": cpu, "peak_mb": peak, "tokens": tokens}), flush=True)


if __name__ == "__main__":
    main()
