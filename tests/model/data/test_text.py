import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.text import body_text, document_text, headline, plain_text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>a <b>b</b></p>\n<p>c</p>", "a b\nc"),
        ("x &amp; y<br>z", "x & y\nz"),
        ("<pre><code>if a &lt; b:</code></pre>", "if a < b:"),
        ("<script>alert()</script>t", "t"),
        ("1 < 2 and $x<y$", "1 < 2 and $x<y$"),
        ("", ""),
    ],
)
def test_markup_becomes_text(markup: str, text: str) -> None:
    assert plain_text(markup) == text


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("One. Two.", "One."),
        ("One\nTwo", "One"),
        ("One", "One"),
        ("word " * 40, " ".join(["word"] * 18)),
        ("x" * 200, "x" * 90),
    ],
)
def test_a_headline_is_the_first_sentence(text: str, title: str) -> None:
    assert headline(text) == title


@given(st.text(min_size=1).map(str.strip).filter(bool))
def test_a_headline_is_a_prefix(text: str) -> None:
    assert text.startswith(headline(text))
    assert document_text(headline(text), text) == text


def test_a_title_is_not_repeated() -> None:
    assert document_text("T", "T and more") == "T and more"
    assert document_text("T", "text") == "T\ntext"
    assert body_text("One.", "One. Two.") == "Two."
    assert body_text("T", "x") == "x"
