"""What Anthropic's Python SDK can do but for what test_messages.py tries with every model: the proxy as a whole, and
Anthropic's own. test_anthropic.test.mjs is the same list for Node."""

import asyncio
import json
import ssl
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import anthropic
import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic
from asks import KEY
from conftest import Proxy
from messages_asks import ADAPTS, THINKS, asks, text_of

TABLE, SDK = "anthropic", "anthropic for Python"
MODELS = ["anthropic--claude-4.5-sonnet", "gpt-4o"]
NAMES = ["claude-sonnet-4-5", "claude-sonnet-4-5-20250929", "claude-opus-4-8", "anthropic--gpt-5"]
feature = pytest.mark.feature
# Anthropic takes its older models back one day.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def impatient(patient):
    return patient.with_options(max_retries=0)


@feature("models: list, pages, retrieve")
def test_models(patient):
    names = [model.id for model in patient.models.list()]
    # Claude goes by Anthropic's name; Claude Code offers only what begins as Anthropic's names do.
    assert {"claude-sonnet-4-5", "gpt-4o", "anthropic--gpt-4o"} <= set(names)
    assert len(set(names)) == len(names)
    page = patient.models.list(limit=3)
    assert len(page.data) == 3 and page.has_more and page.last_id == page.data[-1].id
    assert [model.id for model in page] == names
    after = patient.models.list(after_id=names[2], limit=2)
    assert [model.id for model in after.data] == names[3:5]
    before = patient.models.list(before_id=names[4], limit=2)
    assert [model.id for model in before.data] == names[2:4]
    for name in MODELS:
        one = patient.models.retrieve(name)
        assert (one.id, one.type) == (name, "model") and one.display_name and one.created_at.year >= 1970
    with pytest.raises(anthropic.NotFoundError) as caught:
        patient.models.retrieve("claude-0")
    assert "claude-0" in caught.value.api_message


@feature("models: Anthropic's own names")
@pytest.mark.parametrize("model", NAMES)
def test_own_names(impatient, model):
    assert text_of(impatient.messages.create(**asks("Hello", model)))
    with impatient.messages.stream(**asks("Hello", model)) as streamed:
        assert streamed.get_final_text()
    assert impatient.models.retrieve(model).type == "model"


@feature("keys: x-api-key and Bearer")
def test_keys(proxy):
    with Anthropic(base_url=proxy.root_url, auth_token=KEY, api_key=None) as client:
        assert text_of(client.messages.create(**asks("Hello", "gpt-4o")))
        assert client.models.list().data


@feature("error: wrong key")
def test_wrong_key(patient):
    stranger = patient.with_options(api_key="sk-wrong")
    for ask in [
        lambda: stranger.models.list(),
        lambda: stranger.messages.create(**asks("Hello", "gpt-4o", stream=True)),
        lambda: stranger.messages.count_tokens(model="gpt-4o", messages=asks("Hello", "")["messages"]),
    ]:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            ask()
        assert caught.value.type == "authentication_error" and caught.value.request_id


@feature("error: unknown model")
def test_unknown_model(patient):
    for ask in [
        lambda: patient.messages.create(**asks("Hello", "gpt-0")),
        lambda: patient.messages.create(**asks("Hello", "gpt-0", stream=True)),
        lambda: patient.messages.count_tokens(model="gpt-0", messages=asks("Hello", "")["messages"]),
    ]:
        with pytest.raises(anthropic.NotFoundError) as caught:
            ask()
        assert caught.value.type == "not_found_error" and "gpt-0" in caught.value.api_message
    with pytest.raises(anthropic.BadRequestError):
        patient.messages.create(**asks("Hello", "text-embedding-3-small"))


@feature("error: a path in the request")
def test_paths(impatient):
    """The same whether the request is converted or passes through."""
    text = {"type": "text", "text": "Hello"}
    for field, more in [
        ("messages", {"messages": []}),
        ("messages.0", {"messages": [{"role": "user", "content": 7}]}),
        ("max_tokens", {"max_tokens": -1}),
        ("content", {"messages": [{"role": "user", "content": [text, {"type": "no_such_block"}]}]}),
    ]:
        for model in MODELS:
            with pytest.raises(anthropic.BadRequestError) as caught:
                impatient.messages.create(**{**asks("Hello", model), **more})
            assert field.split(".")[0] in caught.value.api_message, model


@feature("what is left out is named")
def test_dropped(impatient, model):
    more = {"no_such_field": 1, "container": "somewhere"}
    raw = impatient.messages.with_raw_response.create(**asks("Hello", model), extra_body=more)
    assert text_of(raw.parse())
    assert set(more) <= set(raw.headers["x-proxy-dropped"].split(", "))


@feature("error: 429, 529, 500, retried by the SDK")
def test_retries(patient, model):
    # Claude 4.5 has two deployments, and the proxy asks the second itself.
    times = 2 if model == MODELS[0] else 1
    faults = ["status=429 retry_after=1", "status=529 retry_after=1", "status=500", "no_answer"]
    for number, fault in enumerate(faults):
        fault = f"{fault} times={times} key={uuid.uuid4()}"
        began = time.monotonic()
        assert patient.messages.create(**asks("Hello", model, fault, stream=bool(number % 2)))
        assert "retry_after" not in fault or time.monotonic() - began >= 1


@feature("error: 413")
def test_too_large(impatient, model):
    with pytest.raises(anthropic.APIStatusError) as caught:
        impatient.messages.create(**asks("x" * (33 << 20), model))
    assert caught.value.status_code == 413 and caught.value.type == "request_too_large"


@feature("32,000 tokens, not streamed")
def test_long(patient, model):
    """32,000 are as many as coding agents ask for."""
    ask = asks("Hello", model, max_tokens=32000)
    assert text_of(patient.messages.create(**ask, timeout=60))


@feature("request-id")
def test_request_id(patient):
    assert patient.messages.create(**asks("Hi", "gpt-4o"))._request_id
    mine = {"x-request-id": "my-own-id-1"}
    raw = patient.models.with_raw_response.list(extra_headers=mine)
    assert raw.headers["request-id"] == "my-own-id-1"


@feature("beta: flags, ?beta=true")
def test_beta(impatient, model):
    flags = ["interleaved-thinking-2025-05-14", "context-management-2025-06-27", "no-such-flag-2099-01-01"]
    ask = asks("Hello", model, betas=flags, **THINKS)
    ask["context_management"] = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
    reply = impatient.beta.messages.create(**ask)
    assert text_of(reply) and reply.stop_reason == "end_turn"
    with impatient.beta.messages.stream(**{**asks("Hello", model, betas=flags), **ADAPTS}) as streamed:
        assert text_of(streamed.get_final_message())


@feature("async client")
def test_async(proxy, model):
    async def story():
        async with AsyncAnthropic(base_url=proxy.root_url, api_key=KEY) as client:
            whole = await client.messages.create(**asks("Hello", model))
            async with client.messages.stream(**asks("Hello", model)) as streamed:
                text = "".join([piece async for piece in streamed.text_stream])
            assert text == text_of(whole)
            with pytest.raises(anthropic.NotFoundError):
                await client.messages.create(**asks("Hello", "gpt-0"))
            asked = [client.messages.create(**asks(f"Number {n}", model, "pause_ms=30")) for n in range(32)]
            return [text_of(reply) for reply in await asyncio.gather(*asked)]

    assert all(f'"Number {n}".' in answer for n, answer in enumerate(asyncio.run(story())))


@feature("32 at once")
def test_many(patient, model):
    def one(number):
        with patient.messages.stream(**asks(f"Number {number}", model, "pause_ms=30")) as streamed:
            return streamed.get_final_text()

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(one, range(32)))
    assert all(f'"Number {n}".' in answer for n, answer in enumerate(answers))


@feature("HTTPS: trusting the made CA")
def test_https(tmp_path, model):
    proxy = Proxy(tmp_path, "--https")
    trust = ssl.create_default_context(cafile=tmp_path / "cert" / "ca.pem")
    try:
        http = httpx2.Client(verify=trust)
        with Anthropic(base_url=proxy.root_url, api_key=KEY, http_client=http) as client:
            whole = client.messages.create(**asks("Hello", model))
            with client.messages.stream(**asks("Hello", model)) as streamed:
                assert streamed.get_final_text() == text_of(whole)
    finally:
        proxy.stop()


@feature("log: no key, no prompt")
def test_log(tmp_path):
    proxy = Proxy(tmp_path, "--log-level", "trace", "--log-format", "json")
    with Anthropic(base_url=proxy.root_url, api_key=KEY, max_retries=0) as client:
        for model in MODELS:
            client.messages.create(**asks("Secret-prompt", model))
            with client.messages.stream(**asks("Secret-prompt", model)) as streamed:
                streamed.until_done()
        with pytest.raises(anthropic.AuthenticationError):
            client.with_options(api_key="sk-not-ours").models.list()
    assert proxy.stop() == 0
    log = proxy.log()
    lines = [json.loads(line) for line in log.splitlines()]
    assert sum("request" in line for line in lines) == 5
    for secret in [KEY, "sk-not-ours", "Secret-prompt", "You said", "eyJ", "aaaa-bbbb"]:
        assert secret not in log, secret
