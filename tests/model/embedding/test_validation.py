from model.data.corpus import Corpus
from model.embedding.base import BaseModel
from model.embedding.encoder import Encoder
from model.embedding.validation import validation_set
from model.sample import Sample


def test_validation_queries_meet_their_answers(sample: Sample, tiny_base: BaseModel) -> None:
    corpus = Corpus.read(sample)
    found = validation_set(corpus.documents, corpus.queries, corpus.judgments, corpus.split, seed=1)
    assert found is not None
    names = {document.id for document in found.documents}
    assert {query.id for query in found.queries} == {
        q for q, part in corpus.split.parts.items() if part == "validation"
    }
    assert all(item in names for grades in found.grades.values() for item in grades)
    assert 0 <= found.measure(Encoder.load(tiny_base.path)) < 0.5


def test_no_queries_no_validation(sample: Sample) -> None:
    corpus = Corpus.read(sample)
    assert validation_set(corpus.documents, [], [], corpus.split, seed=1) is None
