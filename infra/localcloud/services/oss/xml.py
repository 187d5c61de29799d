"""OSS's XML documents: written from plain values, read into elements without namespaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET

from infra.localcloud.service import ApiError

Value = str | int | bool | None | Mapping[str, "Value"] | Sequence["Value"]
"""A list becomes repeated elements, None is left out."""


def render(root: str, value: Value) -> bytes:
    """The document whose root element has this content."""
    element = ET.Element(root)
    _fill(element, value)
    text: bytes = ET.tostring(element, encoding="UTF-8", xml_declaration=True)
    return text


def parse(text: bytes, root: str) -> ET.Element:
    """The root element of a document, namespaces taken off.

    Raises:
        ApiError: the document isn't XML, or another element is its root.
    """
    try:
        element = ET.fromstring(text)  # noqa: S314 - expat bounds entity expansion itself
    except ET.ParseError as error:
        raise ApiError(400, "MalformedXML", f"The XML you provided was not well-formed: {error}.") from error
    for each in element.iter():
        each.tag = each.tag.rpartition("}")[2]
    if element.tag != root:
        raise ApiError(400, "MalformedXML", f"The root element must be {root}, not {element.tag}.")
    return element


def text_of(element: ET.Element, path: str) -> str:
    """The text at a path below an element; empty when there is none."""
    return (element.findtext(path) or "").strip()


def _fill(element: ET.Element, value: Value) -> None:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            many = inner if isinstance(inner, Sequence) and not isinstance(inner, str) else [inner]
            for each in many:
                if each is not None:
                    _fill(ET.SubElement(element, name), each)
    elif isinstance(value, bool):
        element.text = "true" if value else "false"
    elif value is not None:
        element.text = str(value)
