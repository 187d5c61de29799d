"""Text as the models see it. Training, indexing and evaluation all go through here, so that they agree."""

import re
from html.parser import HTMLParser

_BLOCKS = frozenset(
    ["p", "div", "br", "li", "ul", "ol", "pre", "blockquote", "hr", "tr", "table", *(f"h{n}" for n in range(1, 7))]
)
_HIDDEN = frozenset(["script", "style"])


def document_text(title: str, text: str) -> str:
    """What an encoder reads of a document: title and text, without repeating a title that opens the text."""
    if not title or text.startswith(title):
        return text
    return f"{title}\n{text}"


def body_text(title: str, text: str) -> str:
    """The text without a title that opens it: the counterpart of a title in a training pair; may be empty."""
    if title and text.startswith(title):
        return text[len(title) :].lstrip(" .:\n")
    return text


def headline(text: str, limit: int = 90) -> str:
    """A title for a text that has none: its first sentence, or the words of it that fit.

    Always a prefix of the text, so that `document_text` doesn't repeat it.
    """
    match = re.search(r"[.!?](?=\s)|\n", text)
    end = match.start() + (match.group() != "\n") if match else len(text)
    if end <= limit:
        return text[:end].rstrip()
    cut = text.rfind(" ", 0, limit + 1)
    return text[: cut if cut > 0 else limit].rstrip()


def plain_text(markup: str) -> str:
    """The text of an HTML fragment: blocks on lines of their own, code and formulas kept as written."""
    parser = _Text()
    parser.feed(markup)
    parser.close()
    lines = (re.sub(r"[ \t\xa0]+", " ", line).strip() for line in "".join(parser.parts).split("\n"))
    return "\n".join(line for line in lines if line)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag in _HIDDEN:
            self._hidden += 1
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _HIDDEN and self._hidden:
            self._hidden -= 1
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data)
