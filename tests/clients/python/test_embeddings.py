"""Embeddings and rerankers of every family through the official Python SDK; rerank, which it does not have, through
plain HTTP. test_embeddings.test.mjs is the same list for Node."""

import math

import httpx
import openai
import pytest
from asks import KEY
from conftest import FAMILIES

TABLE, SDK = "embeddings", "openai for Python"
EMBEDDERS = FAMILIES["embeddings"]
MODELS = EMBEDDERS
feature = pytest.mark.feature


@pytest.fixture
def embed(impatient):
    return impatient.embeddings.create


def length(vector):
    return math.sqrt(sum(x * x for x in vector))


@feature("default (base64)")
def test_default(embed, model):
    reply = embed(model=model, input="A sentence")
    (item,) = reply.data
    assert (reply.object, reply.model, item.object, item.index) == ("list", model, "embedding", 0)
    assert len(item.embedding) == EMBEDDERS[model]["size"]
    assert length(item.embedding) == pytest.approx(1, abs=1e-3)
    assert reply.usage.prompt_tokens == reply.usage.total_tokens > 0


@feature("float")
def test_float(embed, model):
    ask = {"model": model, "input": "A sentence"}
    plain = embed(**ask, encoding_format="float").data[0].embedding
    assert plain == pytest.approx(embed(**ask).data[0].embedding, abs=1e-6)
    assert isinstance(embed(**ask, encoding_format="base64").data[0].embedding, str)


@feature("list")
def test_list(embed, model):
    reply = embed(model=model, input=["one", "two", "one"])
    assert [item.index for item in reply.data] == [0, 1, 2]
    one, two, again = [item.embedding for item in reply.data]
    assert one == again != two
    assert one == pytest.approx(embed(model=model, input="one").data[0].embedding, abs=1e-6)
    assert reply.usage.prompt_tokens > embed(model=model, input="one").usage.prompt_tokens


@feature("dimensions", needs="dimensions")
def test_dimensions(embed, model):
    reply = embed(model=model, input="A sentence", dimensions=256)
    assert len(reply.data[0].embedding) == 256


@feature("token ids", needs="token ids")
def test_ids(embed, model):
    ids = embed(model=model, input=[[1, 2, 3], [4]])
    assert len(ids.data) == 2 and ids.usage.prompt_tokens == 4


@feature("errors")
def test_errors(embed, model):
    for wrong in [{"input": []}, {"input": {"text": "x"}}, {"input": "x", "encoding_format": "int"}]:
        with pytest.raises(openai.BadRequestError) as caught:
            embed(model=model, **wrong)
        assert caught.value.type == "invalid_request_error"
    with pytest.raises(openai.RateLimitError):
        embed(model=model, input="A sentence [[demo status=429]]")
    with pytest.raises(openai.RateLimitError):
        embed(model=model, input=["A sentence", "Another [[demo status=429]]"])


LEAST = {"dimensions": {"input": "x", "dimensions": 256}, "token ids": {"input": [[1, 2, 3]]}}
LACKS = [(model, ability) for model, row in EMBEDDERS.items() for ability in row.get("lacks", {})]


@feature("refused")
@pytest.mark.parametrize("model, ability", LACKS)
def test_refused(embed, model, ability):
    with pytest.raises(openai.BadRequestError) as caught:
        embed(model=model, **LEAST[ability])
    said = f"{caught.value.param} {caught.value.message}"
    assert EMBEDDERS[model]["lacks"][ability] in said


DOCUMENTS = ["Berlin is a city.", "Walldorf is where SAP is at home.", "Bread is eaten."]


@feature("rerank")
@pytest.mark.parametrize("model", FAMILIES["rerank"])
def test_rerank(proxy, model):
    def rerank(**more):
        ask = {"model": model, "query": "Where is SAP at home?", "documents": DOCUMENTS, **more}
        headers = {"authorization": f"Bearer {KEY}"}
        return httpx.post(f"{proxy.base_url}/rerank", json=ask, headers=headers)

    results = rerank().json()["results"]
    assert sorted(result["index"] for result in results) == [0, 1, 2]
    scores = [result["relevance_score"] for result in results]
    assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
    assert not any("document" in result for result in results)
    best = rerank(top_n=2, return_documents=True).json()["results"]
    assert [result["index"] for result in best] == [result["index"] for result in results[:2]]
    for result in best:
        assert result["document"] == {"text": DOCUMENTS[result["index"]]}
    texts = rerank(documents=[{"text": text} for text in DOCUMENTS]).json()["results"]
    assert texts == results
    for wrong in [{"documents": []}, {"query": None}, {"top_n": 0}, {"documents": "x"}]:
        refused = rerank(**wrong)
        assert refused.status_code == 400 and refused.json()["error"]["message"], wrong
    assert rerank(model="no-reranker").status_code == 404
    assert rerank(model="gpt-4o").status_code in [400, 404]
    assert rerank(query="Where? [[demo status=429]]").status_code == 429
