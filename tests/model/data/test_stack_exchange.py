from pathlib import Path

import pytest

from model.data import DataError, open_dataset, write_contract

POSTS = """\ufeff<?xml version="1.0" encoding="utf-8"?>
<posts>
  <row Id="1" PostTypeId="1" AcceptedAnswerId="3" CreationDate="2018-03-12T17:00:45.567" Score="5" OwnerUserId="7"
    Title="What is a gate?" Body="&lt;p&gt;Tell &lt;b&gt;me&lt;/b&gt;.&lt;/p&gt;" Tags="&lt;gate&gt;&lt;qubit&gt;" />
  <row Id="2" PostTypeId="2" ParentId="1" CreationDate="2018-03-13T00:00:00.000" Score="-1" OwnerUserId="8"
    Body="&lt;p&gt;No idea. Really.&lt;/p&gt;" />
  <row Id="3" PostTypeId="2" ParentId="1" CreationDate="2018-03-14T00:00:00.000" Score="3"
    Body="&lt;p&gt;A unitary.&lt;/p&gt;&lt;p&gt;See $U$.&lt;/p&gt;" />
  <row Id="4" PostTypeId="1" CreationDate="2018-03-15T00:00:00.000" Score="0" OwnerUserId="8" Title="Gates?"
    Body="&lt;p&gt;Again.&lt;/p&gt;" Tags="|gate|" />
  <row Id="5" PostTypeId="5" CreationDate="2018-03-15T00:00:00.000" Body="wiki" />
</posts>
"""


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    (tmp_path / "Posts.xml").write_text(POSTS, encoding="utf-8")
    (tmp_path / "Comments.xml").write_text(
        '<comments><row Id="1" PostId="3" Text="x" CreationDate="2018-03-16T00:00:00.000" UserId="7" />'
        '<row Id="2" PostId="3" Text="x" CreationDate="2018-03-16T00:00:00.000" /></comments>'
    )
    (tmp_path / "Votes.xml").write_text(
        '<votes><row Id="1" PostId="1" VoteTypeId="5" UserId="9" CreationDate="2018-03-16T00:00:00.000" />'
        '<row Id="2" PostId="1" VoteTypeId="2" CreationDate="2018-03-16T00:00:00.000" /></votes>'
    )
    (tmp_path / "PostLinks.xml").write_text(
        '<postlinks><row Id="1" CreationDate="2018-03-16T00:00:00.000" PostId="4" RelatedPostId="1" LinkTypeId="3" />'
        "</postlinks>"
    )
    return tmp_path


def test_questions_and_answers_are_documents(dump: Path) -> None:
    question, bad, accepted, again = open_dataset(dump).documents()
    assert (question.title, question.text, question.tags) == ("What is a gate?", "Tell me.", ("gate", "qubit"))
    assert question.fields == {"accepted_answer_id": "3", "kind": "question", "score": 5}
    assert (bad.title, bad.fields["question_id"]) == ("No idea.", "1")
    assert accepted.text == "A unitary.\nSee $U$."
    assert (again.tags, again.fields["related_ids"]) == (("gate",), ["1"])


def test_who_did_what_is_read(dump: Path) -> None:
    found = [(i.user_id, i.event, i.item_id) for i in open_dataset(dump).interactions()]
    assert found == [
        ("7", "ask", "1"),
        ("8", "answer", "1"),
        ("8", "ask", "4"),
        ("7", "comment", "3"),
        ("9", "favourite", "1"),
    ]


def test_titles_are_queries_for_answers_and_duplicates(dump: Path) -> None:
    dataset = open_dataset(dump)
    assert [(query.id, query.text) for query in dataset.queries()] == [("1", "What is a gate?"), ("4", "Gates?")]
    assert [(j.query_id, j.item_id, j.grade) for j in dataset.judgments()] == [
        ("1", "2", 1),
        ("1", "3", 2),
        ("4", "1", 2),
    ]


def test_broken_xml_names_the_line(dump: Path) -> None:
    (dump / "Posts.xml").write_text("<posts>\n<row Id='1'\n</posts>")
    with pytest.raises(DataError, match=r"Posts\.xml:3: is not well-formed XML"):
        _ = open_dataset(dump).summary


def test_the_real_dump(shared_data: Path, tmp_path: Path) -> None:
    dataset = open_dataset(shared_data / "quantum")
    summary = write_contract(dataset, tmp_path)
    assert summary.count("documents.jsonl") == 612 + 1060
    assert summary.count("queries.jsonl") > 560
    assert open_dataset(tmp_path).digest == dataset.digest
