"""Training framework on Paddle static graphs: Programs, optimizers, data parallelism, checkpoints, export.

Importing this package applies the process settings of :mod:`propeller.device.runtime`; Paddle itself is imported only
by the modules that build or run graphs, so that the settings are in place when its libraries start.
"""

from propeller.device import runtime

runtime.apply()
