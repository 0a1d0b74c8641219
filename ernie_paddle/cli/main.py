"""`ernie VERB …`: finds the verb, runs it, and turns a user's mistakes into one line and exit code 2."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import warnings
from typing import TYPE_CHECKING

# Little is imported here; the rest is imported inside `main`, which handles Ctrl-C at any time.
from ernie_paddle import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from ernie_paddle.cli.options import Parser

VERBS: dict[str, str] = {
    "vocab": "train a WordPiece or SentencePiece vocabulary on raw text",
    "prepare": "turn raw text into a corpus: memory-mapped shards for pre-training",
    "stats": "compute the token statistics of a corpus that some objectives need",
    "prepare-pairs": "turn tables of labelled text pairs into a corpus of pairs",
    "mine-discourse": "mine sentence pairs with a discourse marker as label from raw text",
    "pretrain": "pre-train a model on prepared corpora according to a recipe",
    "finetune": "train a model for a task on a labelled table, and keep the best checkpoint",
    "evaluate": "evaluate a fine-tuned or exported model on a labelled table",
    "predict": "make predictions for the rows of a table with a fine-tuned or exported model",
    "embed": "turn the texts of a table into vectors with any model",
    "convert": "convert weights between checkpoints and the layouts of PaddleNLP, Hugging Face and the static releases",
    "export": "export a checkpoint as a Paddle Inference model for predict",
    "launch": "start a script on several GPUs or CPU workers, as fleetrun does",
    "inspect": "show the contents of a corpus, checkpoint, exported model or vocabulary",
    "benchmarks": "fine-tune on a suite of benchmarks with several seeds, and compare with the papers' figures",
    "tables": "reproduce a table of a paper: pre-train and fine-tune all its rows",
    "quickstart": "go from raw text to an exported model on Python's own manual",
    "list": "list the objectives, schedules, fine-tuning tasks, recipes, benchmarks or suites, with a line about each",
    "doctor": "report on Python, Paddle, devices and settings, and suggest changes",
}

EXIT_BUG = 1
EXIT_MISTAKE = 2
EXIT_INTERRUPTED = 130
EXIT_PIPE = 141


def overview() -> str:
    """The text that `ernie` without a verb prints."""
    lines = ["usage: ernie VERB [options]    (`ernie VERB --help` explains the options)", ""]
    width = max(map(len, VERBS))
    lines += [f"  {verb:<{width}} {meaning}" for verb, meaning in VERBS.items()]
    lines += ["", "`ernie --version` prints the version."]
    return "\n".join(lines)


def load_verb(verb: str) -> ModuleType:
    """Import the module of one verb; other verbs are not imported, so that text verbs never load Paddle."""
    return importlib.import_module(f"ernie_paddle.cli.{verb.replace('-', '_')}")


def build_parser(verb: str, argv: Sequence[str] = ()) -> Parser:
    """The parser of one verb; the options of `finetune` depend on the task type in `argv`."""
    from ernie_paddle.cli.options import Parser

    module = load_verb(verb)
    parser = Parser(prog=f"ernie {verb}", description=module.__doc__, allow_abbrev=False)
    if verb == "finetune":
        module.add_arguments(parser, argv)
    else:
        module.add_arguments(parser)
    return parser


def with_underscores(argv: list[str]) -> list[str]:
    """Write option names with underscores, so that `--batch-size` and `--batch_size` are the same option."""
    out: list[str] = []
    for position, text in enumerate(argv):
        if text == "--":
            return out + argv[position:]
        if text.startswith("--"):
            name, equals, value = text.partition("=")
            text = "--" + name[2:].replace("-", "_") + equals + value
        out.append(text)
    return out


def main(argv: list[str] | None = None) -> int:
    """Run `ernie` with these arguments (default: those of the process) and return the exit code.

    0: success; 1: an error in the program (with a traceback); 2: a mistake in options, files or settings (one line on
    stderr); 130: interrupted from the keyboard.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(argv)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader of the output closed it (`ernie … | head`), which is no error; keep the interpreter from
        # flushing into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    except KeyboardInterrupt:
        print(f"ernie{' ' + argv[0] if argv else ''}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if argv[0] == "--version":
        print(f"ernie {__version__}")
        return 0
    verb, rest = argv[0], with_underscores(argv[1:])
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {near[0]!r}? The" if near else "the"
        print(f"ernie: there is no verb {verb!r}; {hint} verbs are {', '.join(VERBS)}", file=sys.stderr)
        return EXIT_MISTAKE
    from propeller.errors import UserError, one_line
    from reader.errors import DataError

    # Paddle's C++ side logs every executor that it makes; errors are still shown.
    os.environ.setdefault("GLOG_minloglevel", "2")
    warnings.filterwarnings("ignore", module=r"paddle\.")
    try:
        module = load_verb(verb)
        if hasattr(module, "forward") and argv[1:2] not in (["-h"], ["--help"]):
            return int(module.forward(argv[1:]))
        # With --help, options such as --task are not expanded, as they may be incomplete.
        if hasattr(module, "expand") and not {"-h", "--help"}.intersection(rest):
            rest = module.expand(rest)
        args = build_parser(verb, rest).parse_args(rest)
        args.given_words = rest
        return int(module.run(args) or 0)
    except BrokenPipeError:
        raise
    except (DataError, UserError, OSError) as error:
        print(f"ernie {verb}: {one_line(error)}", file=sys.stderr)
        return EXIT_MISTAKE
    except ModuleNotFoundError as error:
        from propeller.tools.wheels import missing_paddle

        line = missing_paddle(error)
        if line is None:
            raise
        print(f"ernie {verb}: {line}", file=sys.stderr)
        return EXIT_MISTAKE


if __name__ == "__main__":
    sys.exit(main())
