"""The sentence splitter on text whose sentences are known, and its law: nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reader.text.sentences import split_sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["It was cold.", "He left!", "Why?", "No one knows."],
        ["Dr. Smith met Mr. J. S. Bach in the U.S. Army on Jan. 5, No. 7 of vol. 2.", "Then he went home."],
        ['"Go away," he said.', '"Never!" she cried.', "(It was late.)", "“Indeed.”", "Yes."],
        ["It cost 3.50 dollars, e.g. in shops, etc. and so on.", "See example.org for more."],
        ["Wait... then he ran.", "He was gone..."],
        ["What? asked the man, and left.", "Good."],
        ["Am I?", "So am I.", "Then go."],
        ["今天天气很好。", "我们去公园吧！", "“好的。”", "他说：走？", "走……", "再见"],
        ["यह एक वाक्य है।", "दूसरा वाक्य।"],
    ],
)
def test_known_sentences(sentences: list[str]) -> None:
    chinese = sentences[0][-1] in "。।"
    assert split_sentences(("" if chinese else " ").join(sentences)) == sentences


@given(st.text(alphabet="aB1 .!?。”\"' \n…Dr", max_size=60))
def test_only_white_space_is_dropped(text: str) -> None:
    sentences = split_sentences(text)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(sentence and sentence == sentence.strip() for sentence in sentences)
