"""The verbs of `ernie`: one file per verb, each with `add_arguments(parser)` and `run(args)`."""
