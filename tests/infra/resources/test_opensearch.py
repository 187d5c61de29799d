"""Connections: refused logins, absent servers, bulk requests; and who may do what."""

from __future__ import annotations

import pytest

from infra.resources import search_security
from infra.resources.opensearch import Cluster, OpenSearchError
from tests.opensearch import HOST, Node, free_port


@pytest.mark.opensearch
def test_a_wrong_password_is_said_in_words(opensearch: Node) -> None:
    cluster = Cluster({**opensearch.connection(), "password": "wrong"})

    with pytest.raises(OpenSearchError, match="refuses user and password") as caught:
        cluster.call("GET", "/_cluster/health")

    assert caught.value.status == 401


@pytest.mark.opensearch
def test_an_unknown_authority_is_not_trusted(opensearch: Node) -> None:
    cluster = Cluster({**opensearch.connection(), "authority": ""}, patience=0)

    with pytest.raises(OpenSearchError, match=r"(?i)certificate.verify.failed"):
        cluster.call("GET", "/")


def test_an_absent_server_is_waited_for_and_then_said() -> None:
    told: list[str] = []
    cluster = Cluster({"url": f"http://{HOST}:{free_port()}"}, patience=0)

    with pytest.raises(OpenSearchError, match=r"isn't ready after 1 s: GET /_cluster/health: .* doesn't answer"):
        cluster.wait(1, told.append)


@pytest.mark.opensearch
def test_find_and_remove_tell_absence_from_refusal(opensearch: Node) -> None:
    loader = Cluster(opensearch.connection())

    assert loader.find("/items-nothing") is None
    assert loader.remove("/items-nothing") is False
    with pytest.raises(OpenSearchError, match="no permissions") as caught:
        loader.find("/other-index")
    assert caught.value.status == 403


@pytest.mark.opensearch
def test_bulk_names_the_first_refused_document(opensearch: Node) -> None:
    loader = Cluster(opensearch.connection())
    mapping = {"mappings": {"dynamic": "strict", "properties": {"n": {"type": "integer"}}}}
    loader.call("PUT", "/items-bulk", mapping)
    try:
        good = [{"index": {"_index": "items-bulk", "_id": "1"}}, {"n": 1}]
        loader.bulk(good)
        with pytest.raises(OpenSearchError, match=r"document '2' of items-bulk was refused: .*other"):
            loader.bulk([*good, {"index": {"_index": "items-bulk", "_id": "2"}}, {"other": 1}])
    finally:
        loader.remove("/items-bulk")


@pytest.mark.opensearch
def test_each_user_may_do_its_own_and_no_more(opensearch: Node) -> None:
    service, loader = opensearch.session(search_security.SERVICE), opensearch.session(search_security.LOADER)
    url = opensearch.url
    try:
        assert loader.put(f"{url}/items-roles").status_code == 200
        assert loader.put(f"{url}/users-roles").status_code == 200
        document = {"n": 1}
        assert service.put(f"{url}/users-roles/_doc/1?refresh=true", json=document).status_code == 201
        assert service.get(f"{url}/items-roles/_search").status_code == 200
        assert service.put(f"{url}/items-roles/_doc/1", json=document).status_code == 403
        assert service.delete(f"{url}/items-roles").status_code == 403
        assert service.put(f"{url}/_search/pipeline/ragrec-hybrid", json={}).status_code == 403
        assert loader.put(f"{url}/other-index").status_code == 403
        for session in (service, loader):
            assert session.get(f"{url}/_plugins/_security/api/internalusers").status_code == 403
            assert session.get(f"{url}/.opendistro_security/_search").status_code == 403
        anonymous = opensearch.session()
        anonymous.auth = None
        assert anonymous.get(f"{url}/items-roles/_search").status_code == 401
    finally:
        loader.delete(f"{url}/items-roles")
        loader.delete(f"{url}/users-roles")


def test_security_files_need_a_hash_for_every_user() -> None:
    with pytest.raises(ValueError, match="no password hash for loader, service"):
        search_security.files({"admin": "$2b$12$x"})
