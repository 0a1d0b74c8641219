"""Training vocabularies on the text that a model will be pre-trained on.

WordPiece and SentencePiece vocabularies are trained by their libraries' own trainers. The special pieces come first:
[PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, [MASK] 4. The same text and settings give the same vocabulary on every run.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers

from reader.corpora.corpus import CORPUS_FILE
from reader.errors import DataError
from reader.prepare.workspace import PARTIAL
from reader.report import SkipReport
from reader.text.blocks import find_sources
from reader.text.documents import sample_sentences
from reader.tokenizers.base import CONFIG_FILE, Tokenizer
from reader.tokenizers.load import load_tokenizer
from reader.tokenizers.sentencepiece import SentencePieceTokenizer
from reader.tokenizers.vocab import SPECIALS, Vocab
from reader.tokenizers.wordpiece import WordPieceTokenizer

KINDS = ("wordpiece", "sentencepiece")
LIMIT_BYTES = 1 << 27
LEAST_COVERAGE = {"wordpiece": 0.9, "sentencepiece": 0.98}  # SentencePiece's trainer refuses less
LEAST_SIZE = 32
LEAST_LIMIT = 1 << 20  # bytes; text is sampled by blocks, and less text does not give a useful vocabulary
_SPM_THREADS = 4  # a fixed number: sums of floats depend on it
_SPM_LONGEST = 4000


def train_vocab(
    inputs: Sequence[str | Path],
    output_dir: str | Path,
    vocab_size: int,
    *,
    kind: str = "wordpiece",
    format: str = "auto",
    lowercase: bool = True,
    strip_accents: bool | None = None,
    character_coverage: float = 0.9999,
    limit_bytes: int = LIMIT_BYTES,
    overwrite: bool = False,
    report: SkipReport | None = None,
) -> Tokenizer:
    """Trains a vocabulary and writes a tokenizer folder that `load_tokenizer` reads.

    Args:
        inputs, format: text, as for `reader.prepare.documents.prepare`.
        output_dir: folder for the vocabulary or model and tokenizer_config.json.
        vocab_size: wanted number of pieces; little text may give fewer.
        kind: "wordpiece" or "sentencepiece" (unigram).
        lowercase: fold case (WordPiece: BERT's rules; SentencePiece: NFKC with case folding instead of NFKC).
        strip_accents: remove accents, WordPiece only; None: as `lowercase`.
        character_coverage: share of the text that the characters in the vocabulary cover; rarer characters become
            [UNK]. It is from 0.9 to 1, for SentencePiece from 0.98.
        limit_bytes: approximate size of the text to train on, which is taken evenly from the whole input.
        overwrite: replace another vocabulary in the folder.
        report: counts unusable input in the text to train on.

    Raises:
        DataError: a setting, a file or the text is unusable, or the folder holds another vocabulary or a corpus.
    """
    if kind not in KINDS:
        raise DataError(f"vocabulary kind {kind!r} is not known; use one of {', '.join(KINDS)}")
    if vocab_size < LEAST_SIZE:
        raise DataError(f"vocab_size must be {LEAST_SIZE} or more, not {vocab_size}")
    least = LEAST_COVERAGE[kind]
    if not least <= character_coverage <= 1.0:
        raise DataError(f"character_coverage must be from {least} to 1 for {kind}, not {character_coverage}")
    output = Path(output_dir)
    _check_output(output, kind, overwrite)
    report = SkipReport() if report is None else report
    sources = find_sources(inputs, format, report)
    passes: list[SkipReport] = []

    def texts() -> Iterator[str]:
        passes.append(SkipReport())
        for _, sentences in sample_sentences(sources, limit_bytes, passes[-1]):
            yield from sentences

    if not any(text.strip() for text in texts()):
        report.merge(passes[0])
        raise DataError("\n".join(["no usable text to train a vocabulary on:", *(report.lines() or ["no text"])]))
    passes.clear()  # the pass above ended early

    tokenizer: Tokenizer
    if kind == "wordpiece":
        pieces = train_wordpiece(
            texts, vocab_size, lowercase=lowercase, strip_accents=strip_accents, character_coverage=character_coverage
        )
        tokenizer = WordPieceTokenizer(Vocab(pieces, str(output_dir)), lowercase=lowercase, strip_accents=strip_accents)
    else:
        model = train_sentencepiece(texts(), vocab_size, lowercase=lowercase, character_coverage=character_coverage)
        tokenizer = SentencePieceTokenizer(model, str(output_dir))
    report.merge(passes[0])
    if not overwrite and (output / CONFIG_FILE).exists() and _there(output) != tokenizer.config():
        raise DataError(_other_vocabulary(output))
    tokenizer.save(output)
    return tokenizer


def _check_output(output: Path, kind: str, overwrite: bool) -> None:
    """Refuse, before the long work, a folder to which the vocabulary cannot be written."""
    if output.exists() and not output.is_dir():
        raise DataError(f"{output} is a file; name a folder for the vocabulary")
    if (output / CORPUS_FILE).exists() or (output / PARTIAL).exists():
        raise DataError(f"{output} holds a prepared corpus, which needs its own vocabulary; name another folder")
    # The same command gives the same vocabulary, so only training shows whether the one in the folder is another.
    if not overwrite and (output / CONFIG_FILE).exists() and (_there(output) or {}).get("type") != kind:
        raise DataError(_other_vocabulary(output))


def _there(output: Path) -> dict[str, Any] | None:
    """The settings of the vocabulary in a folder; None if it cannot be read."""
    try:
        return load_tokenizer(output).config()
    except DataError:
        return None


def _other_vocabulary(output: Path) -> str:
    return f"{output} holds another vocabulary; name another folder, or add --overwrite"


def train_wordpiece(
    texts: Callable[[], Iterator[str]],
    vocab_size: int,
    *,
    lowercase: bool = True,
    strip_accents: bool | None = None,
    character_coverage: float = 0.9999,
) -> list[str]:
    """The pieces of a WordPiece vocabulary: special pieces, single characters, then merged pieces in their order.

    Args:
        texts: function that iterates over the texts; it is called twice.

    Raises:
        DataError: there is no text.
    """
    library = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=strip_accents)
    library.normalizer = normalizer
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for text in texts():
        counts.update(text)
    normalised: Counter[str] = Counter()
    for character, count in counts.items():
        for part in normalizer.normalize_str(character):
            if not part.isspace():
                normalised[part] += count
    if not normalised:
        raise DataError("the input has no text to train a vocabulary on")
    first, following = _alphabet(normalised, library, vocab_size, character_coverage)
    # The trainer numbers "##x" in the order of a hash map, which differs in each run, and breaks ties by number. As
    # special pieces they are numbered here, so that the result is always the same.
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIALS, *("##" + character for character in following)],
        initial_alphabet=first,
        limit_alphabet=len(first),
        show_progress=False,
    )
    library.train_from_iterator(texts(), trainer=trainer)
    return [piece for piece, _ in sorted(library.get_vocab().items(), key=lambda item: item[1])]


def train_sentencepiece(
    texts: Iterator[str], vocab_size: int, *, lowercase: bool = False, character_coverage: float = 0.9995
) -> bytes:
    """A SentencePiece unigram model, as the bytes of its file.

    Raises:
        DataError: there is no text, or the trainer cannot make this many pieces from it.
    """
    stream = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_short(texts),
            model_writer=stream,
            model_type="unigram",
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            character_coverage=character_coverage,
            normalization_rule_name="nmt_nfkc_cf" if lowercase else "nmt_nfkc",
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            pad_piece=SPECIALS[0],
            unk_piece=SPECIALS[1],
            bos_piece=SPECIALS[2],
            eos_piece=SPECIALS[3],
            control_symbols=[SPECIALS[4]],
            num_threads=_SPM_THREADS,
            minloglevel=2,
        )
    except (RuntimeError, OSError, ValueError) as error:
        raise DataError(
            f"SentencePiece cannot make {vocab_size} pieces of this text: they are too few for its characters, or "
            "there is too little text; use a larger size (--size), lower character coverage (--coverage), or more text"
        ) from error
    return stream.getvalue()


def _alphabet(
    counts: Counter[str], library: tokenizers.Tokenizer, vocab_size: int, coverage: float
) -> tuple[list[str], list[str]]:
    """The single characters that words begin with, and those that words continue with.

    Characters of words take at most half of the vocabulary; punctuation and Chinese characters are words themselves.
    """
    total = sum(counts.values())
    covered = 0
    first: list[str] = []
    following: list[str] = []
    for character, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if covered >= coverage * total:
            break
        covered += count
        continues = _is_one_word("a" + character, library)
        if len(first) + len(following) + len(SPECIALS) + 2 > vocab_size or (
            continues and 2 * len(following) + 2 > vocab_size // 2
        ):
            continue
        first.append(character)
        if continues:
            following.append(character)
    return sorted(first), sorted(following)


def _is_one_word(text: str, library: tokenizers.Tokenizer) -> bool:
    normalised = library.normalizer.normalize_str(text)
    return len(library.pre_tokenizer.pre_tokenize_str(normalised)) == 1


def _short(texts: Iterator[str]) -> Iterator[str]:
    """The texts, cut into parts that are not too long for SentencePiece, which skips longer ones."""
    for text in texts:
        for begin in range(0, len(text), _SPM_LONGEST // 4):
            yield text[begin : begin + _SPM_LONGEST // 4]
