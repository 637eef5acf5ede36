"""What the official Python SDK can do through the proxy. test_openai.test.mjs is the same list for Node."""

import asyncio
import json
import math
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
from conftest import KEY, Proxy
from openai import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI, OpenAI
from pydantic import BaseModel

feature = pytest.mark.feature
EMBEDDER = "text-embedding-3-small"
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "YPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Tells the {what} of a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
    for name, what in [("weather_of", "weather"), ("time_in", "time")]
]


def says(text, model, **more):
    """A request as people write it. A reasoning model takes neither of the two settings as they are."""
    settings = {"max_tokens": 4000, "temperature": 0.2}
    return {"model": model, "messages": [{"role": "user", "content": text}], **settings, **more}


def text_of(chunks):
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


@feature("chat")
def test_chat(client, model):
    reply = client.chat.completions.create(**says("Hello there", model))
    choice = reply.choices[0]
    assert 'You said: "Hello there".' in choice.message.content
    assert (choice.message.role, choice.finish_reason) == ("assistant", "stop")
    assert (reply.object, reply.model) == ("chat.completion", model)
    assert reply.id and abs(reply.created - time.time()) < 60


@feature("stream")
def test_stream(client, model):
    whole = client.chat.completions.create(**says("Hello 👋", model))
    chunks = list(client.chat.completions.create(**says("Hello 👋", model, stream=True)))
    assert text_of(chunks) == whole.choices[0].message.content
    assert all(len(chunk.choices) == 1 and chunk.usage is None for chunk in chunks)
    assert {chunk.id for chunk in chunks} == {chunks[0].id} and chunks[0].model == model
    assert chunks[0].choices[0].delta.role == "assistant"
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    assert reasons[-1] == "stop" and set(reasons[:-1]) == {None}


@feature("stream: chunks one by one")
def test_stream_is_prompt(client, model):
    asked = time.monotonic()
    ask = says("[[demo frames=10 pause_ms=100]]", model, stream=True)
    arrivals = []
    for chunk in client.chat.completions.create(**ask):
        if chunk.choices[0].delta.content:
            arrivals.append(time.monotonic() - asked)
    assert len(arrivals) == 10
    gaps = [b - a for a, b in zip(arrivals, arrivals[1:])]
    assert arrivals[-1] - arrivals[0] > 0.7, arrivals
    assert sum(gap > 0.05 for gap in gaps) >= 7, gaps


@feature("stream: include_usage")
def test_stream_with_usage(client, model):
    ask = says("Hello", model, stream=True, stream_options={"include_usage": True})
    chunks = list(client.chat.completions.create(**ask))
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].usage == client.chat.completions.create(**says("Hello", model)).usage


@feature("stream: SDK's helper")
def test_stream_helper(client, model):
    with client.chat.completions.stream(**says("Hello", model)) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(deltas) == final.choices[0].message.content
    assert final.choices[0].finish_reason == "stop"


@feature("stream: client stops early")
def test_stream_left_early(client, model):
    ask = says("[[demo frames=1000 pause_ms=20]]", model, stream=True)
    with client.chat.completions.create(**ask) as stream:
        assert next(iter(stream))
    assert client.chat.completions.create(**says("Still there?", model)).choices


@feature("tools: call, result, answer")
def test_tools(client, model):
    ask = says("Please use weather_of for Walldorf", model, tools=TOOLS)
    first = client.chat.completions.create(**ask).choices[0]
    assert first.finish_reason == "tool_calls" and first.message.content is None
    (call,) = first.message.tool_calls
    assert call.function.name == "weather_of" and "city" in json.loads(call.function.arguments)
    ask["messages"] += [
        first.message,
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    last = client.chat.completions.create(**ask).choices[0]
    assert last.finish_reason == "stop" and "The tool says: sunny" in last.message.content


@feature("tools: parallel, streamed")
def test_parallel_tools_streamed(client, model):
    ask = says("Go [[demo tool=weather_of,time_in]]", model, tools=TOOLS, stream=True)
    calls, reason = {}, None
    for chunk in client.chat.completions.create(**ask):
        choice = chunk.choices[0]
        reason = choice.finish_reason or reason
        for part in choice.delta.tool_calls or []:
            call = calls.setdefault(part.index, {"id": part.id, "name": "", "arguments": ""})
            call["name"] += part.function.name or ""
            call["arguments"] += part.function.arguments or ""
    assert reason == "tool_calls" and sorted(calls) == [0, 1]
    assert [call["name"] for call in calls.values()] == ["weather_of", "time_in"]
    assert all("city" in json.loads(call["arguments"]) for call in calls.values())
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": f"{call['name']} ok"}
        for call in calls.values()
    ]
    asked = [
        {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": c["arguments"]}}
        for c in calls.values()
    ]
    ask["messages"] += [{"role": "assistant", "tool_calls": asked}, *results]
    assert "weather_of ok · time_in ok" in text_of(client.chat.completions.create(**ask))


@feature("tools: tool_choice")
def test_tool_choice(client, model):
    def called(text, **more):
        ask = says(text, model, tools=TOOLS, **more)
        message = client.chat.completions.create(**ask).choices[0].message
        return [call.function.name for call in message.tool_calls or []]

    both = "weather_of and time_in"
    assert called(both) == ["weather_of", "time_in"]
    assert called(both, parallel_tool_calls=False) == ["weather_of"]
    assert called(both, tool_choice="none") == []
    assert called("Hello", tool_choice="auto") == []
    assert called("Hello", tool_choice="required") == ["weather_of"]
    named = {"type": "function", "function": {"name": "time_in"}}
    assert called("Hello", tool_choice=named) == ["time_in"]


@feature("vision: data URL")
def test_vision(client, model):
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
    ]
    reply = client.chat.completions.create(**says(parts, model))
    assert "I see 1 image." in reply.choices[0].message.content


class Invoice(BaseModel):
    number: str
    total: float
    items: list[str]
    paid: bool


@feature("structured: SDK's parse")
def test_structured(client, model):
    ask = says("An invoice, please", model, response_format=Invoice)
    assert isinstance(client.chat.completions.parse(**ask).choices[0].message.parsed, Invoice)
    with client.chat.completions.stream(**ask) as stream:
        final = stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Invoice)


@feature("structured: json_object")
def test_json_object(client, model):
    ask = says("Answer in JSON", model, response_format={"type": "json_object"})
    content = client.chat.completions.create(**ask).choices[0].message.content
    assert "answer" in json.loads(content)


@feature("usage")
def test_usage(client, model):
    usage = client.chat.completions.create(**says("Count me", model)).usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens_details.cached_tokens == 0
    reasoning = usage.completion_tokens_details.reasoning_tokens
    assert (reasoning > 0) == (model == "gpt-5")
    if model == "gpt-5":
        ask = says("Count me", model, reasoning_effort="low")
        less = client.chat.completions.create(**ask).usage.completion_tokens_details
        assert 0 < less.reasoning_tokens < reasoning


@feature("max tokens → length")
def test_max_tokens(client, model):
    for name in ["max_tokens", "max_completion_tokens"]:
        ask = {"model": model, "messages": [{"role": "user", "content": "A long tale"}], name: 6}
        reply = client.chat.completions.create(**ask)
        assert reply.choices[0].finish_reason == "length"
        assert 0 < reply.usage.completion_tokens <= 6
        chunks = list(client.chat.completions.create(**ask, stream=True))
        assert chunks[-1].choices[0].finish_reason == "length"


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


@feature("embeddings: default (base64)")
def test_embeddings(client):
    reply = client.embeddings.create(model=EMBEDDER, input="A sentence")
    vector = reply.data[0].embedding
    assert len(vector) == 1536 and math.isclose(sum(x * x for x in vector), 1, rel_tol=1e-3)
    assert reply.usage.prompt_tokens == reply.usage.total_tokens > 0


@feature("embeddings: float")
def test_embeddings_float(client):
    ask = {"model": EMBEDDER, "input": "A sentence"}
    plain = client.embeddings.create(**ask, encoding_format="float").data[0].embedding
    packed = client.embeddings.create(**ask).data[0].embedding
    assert max(abs(a - b) for a, b in zip(plain, packed, strict=True)) < 1e-6
    raw = client.embeddings.create(**ask, encoding_format="base64").data[0].embedding
    assert isinstance(raw, str)


@feature("embeddings: dimensions")
def test_embeddings_dimensions(client):
    reply = client.embeddings.create(model=EMBEDDER, input="A sentence", dimensions=256)
    assert len(reply.data[0].embedding) == 256


@feature("embeddings: list of inputs")
def test_embeddings_list(client):
    reply = client.embeddings.create(model=EMBEDDER, input=["one", "two", "one"])
    assert [item.index for item in reply.data] == [0, 1, 2]
    one, two, again = [item.embedding for item in reply.data]
    assert one == again != two
    ids = client.embeddings.create(model=EMBEDDER, input=[[1, 2, 3], [4]])
    assert len(ids.data) == 2 and ids.usage.prompt_tokens == 4


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


@feature("error: bad request")
def test_bad_request(client, model):
    for more in [{"messages": []}, {"max_tokens": "many"}, {"stream": "yes"}]:
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(**{**says("Hello", model), **more})
        assert caught.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**says("Hello [[demo status=400]]", model, stream=True))


@feature("error: 429, retried by the SDK")
def test_rate_limit_once(client, model):
    # gpt-5 has two deployments, and the proxy asks the second itself.
    deployments = 2 if model == "gpt-5" else 1
    marker = f"[[demo status=429 retry_after=1 times={deployments} key={uuid.uuid4()}]]"
    began = time.monotonic()
    raw = client.chat.completions.with_raw_response.create(**says(f"Hello {marker}", model))
    assert raw.parse().choices[0].message.content and raw.retries_taken == 1
    assert time.monotonic() - began >= 1


@feature("error: 429, the other deployment answers")
@pytest.mark.parametrize("model", ["gpt-5"])
def test_other_deployment(impatient, model):
    for stream in [False, True]:
        marker = f"[[demo status=429 times=1 key={uuid.uuid4()}]]"
        assert impatient.chat.completions.create(**says(f"Hi {marker}", model, stream=stream))


@feature("error: 429 for ever")
def test_rate_limit(client, model):
    for stream in [False, True]:
        with pytest.raises(openai.RateLimitError) as caught:
            ask = says("Hello [[demo status=429 retry_after=1]]", model, stream=stream)
            client.with_options(max_retries=1).chat.completions.create(**ask)
        assert caught.value.response.headers["retry-after"] == "1"


@feature("error: 500, 503, no answer")
def test_upstream_faults(client, model):
    for fault, status in [("status=500", 500), ("status=503", 503), ("no_answer", 502)]:
        began = time.monotonic()
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(**says(f"Hello [[demo {fault}]]", model))
        assert caught.value.status_code == status
        assert time.monotonic() - began > 0.7, "the SDK retries twice"


@feature("error: AI Core refuses us → 502")
def test_upstream_refuses_credentials(impatient, model):
    for status in [401, 403]:
        with pytest.raises(openai.InternalServerError) as caught:
            impatient.chat.completions.create(**says(f"Hello [[demo status={status}]]", model))
        assert caught.value.status_code == 502 and "service key" in caught.value.message


@feature("error: 413")
def test_too_large(impatient, model):
    with pytest.raises(openai.APIStatusError) as caught:
        impatient.chat.completions.create(**says("x" * (33 << 20), model))
    assert caught.value.status_code == 413 and "body_bytes_max" in caught.value.message
    with pytest.raises(openai.APIStatusError) as caught:
        impatient.chat.completions.create(**says("Hello [[demo status=413]]", model))
    assert caught.value.status_code == 413


@feature("error: first frame of a stream")
def test_error_first(impatient, model):
    with pytest.raises(openai.RateLimitError):
        ask = says("Hello [[demo error_after=0]]", model, stream=True)
        impatient.chat.completions.create(**ask)


@feature("error: in the middle of a stream")
def test_error_in_stream(client, model):
    seen = []
    with pytest.raises(openai.APIError) as caught:
        ask = says("Hello [[demo error_after=5]]", model, stream=True)
        for chunk in client.chat.completions.create(**ask):
            seen.append(chunk)
    assert text_of(seen).startswith("You said") and "rate limit" in caught.value.message


@feature("error: stream cut off")
def test_cut_stream(client, model):
    for fault in ["cut_after=5", "end_after=5"]:
        seen = []
        with pytest.raises(openai.APIError):
            ask = says(f"Hello [[demo {fault}]]", model, stream=True)
            for chunk in client.chat.completions.create(**ask):
                seen.append(chunk)
        assert text_of(seen).startswith("You said"), fault


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
            return text_of(client.chat.completions.create(**says(text, model, stream=True)))
        return client.chat.completions.create(**says(text, model)).choices[0].message.content

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(one, range(32)))
    assert all(f'"Number {n}".' in answer for n, answer in enumerate(answers))


@feature("32 at once, async")
def test_many_async(proxy, model):
    async def story():
        async with AsyncOpenAI(base_url=proxy.base_url, api_key=KEY) as client:
            asks = [client.chat.completions.create(**says(f"Number {n}", model)) for n in range(32)]
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
            client.chat.completions.create(**says("Secret-prompt [[demo status=400]]", "gpt-5"))
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="sk-not-ours").models.list()
    assert proxy.stop() == 0
    log = proxy.log()
    lines = [json.loads(line) for line in log.splitlines()]
    assert sum("request" in line for line in lines) == 4
    for secret in [KEY, "sk-not-ours", "Secret-prompt", "You said", "eyJ", "aaaa-bbbb"]:
        assert secret not in log, secret
