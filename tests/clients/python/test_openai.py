"""What the official Python SDK can do but for what test_families.py tries with every model: the proxy as a whole, and
OpenAI's own. test_openai.test.mjs is the same list for Node."""

import asyncio
import json
import os
import ssl
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from asks import KEY, says, text_of
from conftest import Proxy
from openai import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI, OpenAI

TABLE, SDK = "openai", "openai for Python"
MODELS = ["gpt-4o", "gpt-5"]
EMBEDDER = "text-embedding-3-small"
SLOW = "pause_ms=30"
feature = pytest.mark.feature


@feature("usage: details")
def test_usage_details(client, model):
    usage = client.chat.completions.create(**says("Count me", model)).usage
    assert usage.prompt_tokens_details.cached_tokens == 0
    reasoning = usage.completion_tokens_details.reasoning_tokens
    assert (reasoning > 0) == (model == "gpt-5")
    if model == "gpt-5":
        ask = says("Count me", model, reasoning_effort="low")
        less = client.chat.completions.create(**ask).usage.completion_tokens_details
        assert 0 < less.reasoning_tokens < reasoning


@feature("n=2 and logprobs")
@pytest.mark.parametrize("model", ["gpt-4o"])
def test_choices_and_logprobs(client, model):
    ask = says("Twice", model, n=2, logprobs=True, top_logprobs=2)
    reply = client.chat.completions.create(**ask)
    assert [choice.index for choice in reply.choices] == [0, 1]
    first = reply.choices[0].logprobs.content[0]
    assert first.logprob < 0 and len(first.top_logprobs) == 2
    texts = {0: "", 1: ""}
    for chunk in client.chat.completions.create(**ask, stream=True):
        choice = chunk.choices[0]
        texts[choice.index] += choice.delta.content or ""
        assert not choice.delta.content or choice.logprobs.content
    assert texts == {0: reply.choices[0].message.content, 1: reply.choices[1].message.content}


@feature("models: list and retrieve")
def test_models(client):
    names = [model.id for model in client.models.list()]
    assert {"gpt-4o", "gpt-5", EMBEDDER} <= set(names) and len(set(names)) == len(names)
    one = client.models.retrieve("gpt-4o")
    assert (one.id, one.object, one.owned_by) == ("gpt-4o", "model", "openai")
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-0")
    assert caught.value.code == "model_not_found"


@feature("error: wrong key")
def test_wrong_key(client):
    stranger = client.with_options(api_key="sk-wrong")
    for ask in [
        lambda: stranger.models.list(),
        lambda: stranger.chat.completions.create(**says("Hello", "gpt-4o", stream=True)),
    ]:
        with pytest.raises(openai.AuthenticationError) as caught:
            ask()
        assert caught.value.code == "invalid_api_key" and caught.value.request_id


@feature("error: unknown model")
def test_unknown_model(client):
    for stream in [False, True]:
        with pytest.raises(openai.NotFoundError) as caught:
            client.chat.completions.create(**says("Hello", "gpt-0", stream=stream))
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
        assert "gpt-4o" in caught.value.message
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="no-embedder", input="x")


@feature("error: 429, retried by the SDK")
def test_rate_limit_once(client, model):
    # gpt-5 has two deployments, and the proxy asks the second itself.
    deployments = 2 if model == "gpt-5" else 1
    fault = f"status=429 retry_after=1 times={deployments} key={uuid.uuid4()}"
    began = time.monotonic()
    raw = client.chat.completions.with_raw_response.create(**says("Hello", model, fault))
    assert raw.parse().choices[0].message.content and raw.retries_taken == 1
    assert time.monotonic() - began >= 1


@feature("error: 429, the other deployment answers")
@pytest.mark.parametrize("model", ["gpt-5"])
def test_other_deployment(impatient, model):
    for stream in [False, True]:
        fault = f"status=429 times=1 key={uuid.uuid4()}"
        assert impatient.chat.completions.create(**says("Hi", model, fault, stream=stream))


@feature("error: 429 for ever")
def test_rate_limit(client, model):
    for stream in [False, True]:
        with pytest.raises(openai.RateLimitError) as caught:
            ask = says("Hello", model, "status=429 retry_after=1", stream=stream)
            client.with_options(max_retries=1).chat.completions.create(**ask)
        assert caught.value.response.headers["retry-after"] == "1"


@feature("error: 500, 503, no answer")
def test_upstream_faults(client, model):
    for fault, status in [("status=500", 500), ("status=503", 503), ("no_answer", 502)]:
        began = time.monotonic()
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(**says("Hello", model, fault))
        assert caught.value.status_code == status
        assert time.monotonic() - began > 0.7, "the SDK retries twice"


@feature("error: AI Core refuses us → 502")
def test_upstream_refuses_credentials(impatient, model):
    for status in [401, 403]:
        with pytest.raises(openai.InternalServerError) as caught:
            impatient.chat.completions.create(**says("Hello", model, f"status={status}"))
        assert caught.value.status_code == 502 and "service key" in caught.value.message


@feature("error: 413")
def test_too_large(impatient, model):
    with pytest.raises(openai.APIStatusError) as caught:
        impatient.chat.completions.create(**says("x" * (33 << 20), model))
    assert caught.value.status_code == 413 and "body_bytes_max" in caught.value.message
    with pytest.raises(openai.APIStatusError) as caught:
        impatient.chat.completions.create(**says("Hello", model, "status=413"))
    assert caught.value.status_code == 413


@feature("x-request-id")
def test_request_id(client):
    mine = {"x-request-id": "my-own-id-1"}
    raw = client.models.with_raw_response.list(extra_headers=mine)
    assert raw.request_id == "my-own-id-1"
    assert client.chat.completions.create(**says("Hi", "gpt-4o"))._request_id


@feature("AzureOpenAI: chat")
def test_azure_chat(proxy, model):
    with AzureOpenAI(
        azure_endpoint=proxy.root_url, api_key=KEY, api_version="2024-10-21"
    ) as azure:
        whole = azure.chat.completions.create(**says("Hello", model))
        chunks = list(azure.chat.completions.create(**says("Hello", model, stream=True)))
        assert text_of(chunks) == whole.choices[0].message.content
        with pytest.raises(openai.NotFoundError):
            azure.chat.completions.create(**says("Hello", "gpt-0"))
        with pytest.raises(openai.AuthenticationError):
            azure.with_options(api_key="sk-wrong").chat.completions.create(**says("Hi", model))


@feature("AzureOpenAI: embeddings")
def test_azure_embeddings(proxy):
    with AzureOpenAI(
        azure_endpoint=proxy.root_url, api_key=KEY, api_version="2024-10-21"
    ) as azure:
        assert len(azure.embeddings.create(model=EMBEDDER, input="x").data[0].embedding) == 1536


@feature("async client")
def test_async(proxy, model):
    async def story():
        async with AsyncOpenAI(base_url=proxy.base_url, api_key=KEY) as client:
            whole = await client.chat.completions.create(**says("Hello", model))
            stream = await client.chat.completions.create(**says("Hello", model, stream=True))
            text = text_of([chunk async for chunk in stream])
            assert text == whole.choices[0].message.content
            with pytest.raises(openai.NotFoundError):
                await client.chat.completions.create(**says("Hello", "gpt-0"))
        async with AsyncAzureOpenAI(
            azure_endpoint=proxy.root_url, api_key=KEY, api_version="2024-10-21"
        ) as azure:
            assert (await azure.chat.completions.create(**says("Hello", model))).choices

    asyncio.run(story())


@feature("32 at once")
def test_many(client, model):
    def one(number):
        text = f"Number {number}"
        if number % 2:
            return text_of(client.chat.completions.create(**says(text, model, SLOW, stream=True)))
        return client.chat.completions.create(**says(text, model, SLOW)).choices[0].message.content

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(one, range(32)))
    assert all(f'"Number {n}".' in answer for n, answer in enumerate(answers))


@feature("32 at once, async")
def test_many_async(proxy, model):
    async def story():
        async with AsyncOpenAI(base_url=proxy.base_url, api_key=KEY) as client:
            asks = [client.chat.completions.create(**says(f"Number {n}", model, SLOW)) for n in range(32)]
            return [reply.choices[0].message.content for reply in await asyncio.gather(*asks)]

    answers = asyncio.run(story())
    assert all(f'"Number {n}".' in answer for n, answer in enumerate(answers))


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    proxy = Proxy(tmp_path_factory.mktemp("secure"), "--https")
    yield proxy
    proxy.stop()


@feature("HTTPS: trusting the made CA")
def test_https(secure, model):
    trust = ssl.create_default_context(cafile=secure.folder / "cert" / "ca.pem")
    assert secure.base_url.startswith("https://")
    with OpenAI(
        base_url=secure.base_url, api_key=KEY, http_client=httpx.Client(verify=trust)
    ) as client:
        whole = client.chat.completions.create(**says("Hello", model))
        chunks = list(client.chat.completions.create(**says("Hello", model, stream=True)))
        assert text_of(chunks) == whole.choices[0].message.content
        by_name = client.with_options(base_url=secure.base_url.replace("127.0.0.1", "localhost"))
        assert by_name.chat.completions.create(**says("Hello", model)).choices


@feature("HTTPS: CA from the environment")
def test_https_environment(secure):
    code = "import openai, sys; print(openai.OpenAI().models.retrieve(sys.argv[1]).id)"
    ca = str(secure.folder / "cert" / "ca.pem")
    env = {"OPENAI_BASE_URL": secure.base_url, "OPENAI_API_KEY": KEY, "SSL_CERT_FILE": ca}
    command = [sys.executable, "-c", code, "gpt-4o"]
    assert subprocess.check_output(command, env={**os.environ, **env}, text=True) == "gpt-4o\n"


@feature("HTTPS: refused without the CA")
def test_https_refused(secure):
    with OpenAI(base_url=secure.base_url, api_key=KEY, max_retries=0) as client:
        with pytest.raises(openai.APIConnectionError):
            client.models.list()


@feature("log: no key, no prompt; stops on SIGTERM")
def test_log_and_stop(tmp_path):
    proxy = Proxy(tmp_path, "--log-level", "trace", "--log-format", "json")
    with OpenAI(base_url=proxy.base_url, api_key=KEY, max_retries=0) as client:
        client.chat.completions.create(**says("Secret-prompt", "gpt-4o"))
        list(client.chat.completions.create(**says("Secret-prompt", "gpt-5", stream=True)))
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(**says("Secret-prompt", "gpt-5", "status=400"))
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="sk-not-ours").models.list()
    assert proxy.stop() == 0
    log = proxy.log()
    lines = [json.loads(line) for line in log.splitlines()]
    assert sum("request" in line for line in lines) == 4
    for secret in [KEY, "sk-not-ours", "Secret-prompt", "You said", "eyJ", "aaaa-bbbb"]:
        assert secret not in log, secret
