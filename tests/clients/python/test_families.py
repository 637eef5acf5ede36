"""What the official Python SDK can do with every family. test_families.test.mjs is the same list for Node."""

import json
import re
import time

import openai
import pytest
from asks import KEY, PDF, PIXEL, TOOLS, Invoice, called, prompt, reasoning_of, result, says, text_of, turn
from conftest import CHAT

TABLE, SDK = "families", "openai for Python"
MODELS = CHAT
feature = pytest.mark.feature
ODD = 'It\'s "odd": {{?x}} {% if %} \\n \t 👋\u200b é\nline 2'
IMAGE = {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}
FILE = {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}
JSON = {"type": "json_object"}

# The least request for what a vendor may not have.
LEAST = {
    "tools": {"tools": TOOLS},
    "vision": {"parts": [IMAGE]},
    "documents": {"parts": [FILE]},
    "json_schema": {"response_format": openai.lib._parsing.type_to_response_format_param(Invoice)},
    "json_object": {"response_format": JSON},
    "stop": {"stop": ["stop"]},
}


@pytest.fixture
def create(impatient):
    return impatient.chat.completions.create


@feature("chat")
def test_chat(create, model):
    reply = create(**says(ODD, model))
    choice = reply.choices[0]
    assert f'You said: "{ODD}".' in choice.message.content
    assert (choice.message.role, choice.finish_reason) == ("assistant", "stop")
    assert not choice.message.tool_calls
    assert (reply.object, reply.model) == ("chat.completion", model)
    assert reply.id and abs(reply.created - time.time()) < 60
    assert create(model=model, messages=says("Hello", model)["messages"]).choices[0].message.content


@feature("settings")
def test_settings(create, model):
    usual = {"temperature": 0.3, "top_p": 0.9, "presence_penalty": 0.1, "frequency_penalty": 0.1}
    more = {"seed": 7, "user": "somebody", "n": 1, "max_tokens": 300, "max_completion_tokens": 300}
    unset = {"tools": None, "stop": None, "response_format": None, "stream": None, "top_p": None}
    for settings in [{**usual, **more}, unset]:
        reply = create(**says("Hello", model, **settings))
        assert 'You said: "Hello".' in reply.choices[0].message.content


@feature("history")
def test_history(create, model):
    texts = [{"type": "text", "text": "Two"}, {"type": "text", "text": "Three"}]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "assistant", "content": "How can I help?"},
        {"role": "user", "content": "One"},
        {"role": "user", "content": texts},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": ""},
        {"role": "user", "content": prompt("Four")},
        {"role": "developer", "content": "Do be brief."},
    ]
    begun = {"role": "assistant", "content": "As I was saying, "}
    for ask in [messages, [*messages, begun], messages[:1] + messages[-1:]]:
        assert create(**says("", model, messages=ask)).choices[0].message.content
    assert "Four" in create(**says("", model, messages=messages)).choices[0].message.content


@feature("stream")
def test_stream(impatient, create, model):
    whole = create(**says(ODD, model)).choices[0].message.content
    chunks = list(create(**says(ODD, model, stream=True)))
    assert text_of(chunks) == whole
    assert all(len(chunk.choices) == 1 and chunk.usage is None for chunk in chunks)
    assert {(c.id, c.model, c.object) for c in chunks} == {
        (chunks[0].id, model, "chat.completion.chunk")
    }
    assert chunks[0].choices[0].delta.role == "assistant"
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    assert reasons[-1] == "stop" and set(reasons[:-1]) == {None}
    with impatient.chat.completions.stream(**says(ODD, model)) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        assert "".join(deltas) == whole == stream.get_final_completion().choices[0].message.content


@feature("stream")
def test_stream_is_prompt(create, model):
    arrivals, text = [], ""
    for chunk in create(**says("", model, "frames=60 pause_ms=15", stream=True)):
        if chunk.choices[0].delta.content:
            text += chunk.choices[0].delta.content
            arrivals.append(time.monotonic())
    assert text.split() == [f"word{n}" for n in range(1, 61)]
    first, middle, last = arrivals[0], arrivals[len(arrivals) // 2], arrivals[-1]
    # Orchestration sends a few words at a time.
    assert len(arrivals) > 5 and middle - first > 0.03 and last - middle > 0.03, arrivals


@feature("stream")
def test_stream_left_early(create, model):
    with create(**says("", model, "frames=1000 pause_ms=20", stream=True)) as stream:
        assert next(iter(stream))
    assert create(**says("Still there?", model)).choices


def sums(usage):
    """Not the details: of the same request the second time some may be cached."""
    return usage.prompt_tokens, usage.completion_tokens, usage.total_tokens


@feature("usage")
def test_usage(create, model):
    usage = create(**says("Count me", model)).usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(create(**says("Count me", model, **options)))
    assert chunks[-1].choices == [] and sums(chunks[-1].usage) == sums(usage)
    assert all(chunk.usage is None for chunk in chunks[:-1])


@feature("tools", needs="tools")
def test_tools(create, model):
    ask = says("Please use weather_of", model, tools=TOOLS)
    choice = create(**ask).choices[0]
    # Some vendors' models say something first; if not, there is no content, not an empty one.
    assert choice.finish_reason == "tool_calls" and choice.message.content != ""
    (call,) = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "weather_of")
    assert "city" in json.loads(call.function.arguments)
    assert re.fullmatch("[A-Za-z0-9_-]{1,64}", call.id), call.id
    plain = create(**says("Hello", model, tools=TOOLS)).choices[0]
    assert plain.finish_reason == "stop" and plain.message.content and not plain.message.tool_calls
    none = [{"type": "function", "function": {"name": "now"}}]
    assert called(create(**says("now", model, tools=none)).choices[0].message) == ["now"]


def gathered(chunks):
    """The tool calls of a stream, and how it ended."""
    calls, reasons = {}, []
    for chunk in chunks:
        choice = chunk.choices[0]
        reasons += [choice.finish_reason] if choice.finish_reason else []
        for part in choice.delta.tool_calls or []:
            if part.index not in calls:
                assert part.id and part.type == "function" and part.function.name
                calls[part.index] = part
                part.function.arguments = part.function.arguments or ""
            else:
                assert not part.id and not part.function.name
                calls[part.index].function.arguments += part.function.arguments
    assert list(calls) == list(range(len(calls)))
    return list(calls.values()), reasons


@feature("parallel", needs="tools")
def test_parallel(create, model):
    ask = says("Use weather_of and time_in", model, tools=TOOLS)
    calls, reasons = gathered(create(**ask, stream=True))
    whole = create(**ask).choices[0]
    for each in [calls, whole.message.tool_calls]:
        assert [call.function.name for call in each] == ["weather_of", "time_in"]
        assert all("city" in json.loads(call.function.arguments) for call in each)
        assert len({call.id for call in each}) == 2
    assert reasons == [whole.finish_reason] == ["tool_calls"]


@feature("tool loop", needs="tools")
def test_tool_loop(create, model):
    ask = says("Use weather_of and time_in", model, tools=TOOLS)
    for kept in [turn, lambda message: message, lambda message: {**turn(message), "content": ""}]:
        message = create(**ask).choices[0].message
        weather, clock = message.tool_calls
        answers = [result(clock, [{"type": "text", "text": "noon"}]), result(weather, "sunny")]
        rest = {**ask, "messages": [*ask["messages"], kept(message), *answers]}
        last = create(**rest).choices[0]
        assert last.finish_reason == "stop" and not last.message.tool_calls
        assert "sunny" in last.message.content and "noon" in last.message.content
        assert text_of(create(**rest, stream=True)) == last.message.content
        rest["messages"] += [last.message, *says("Now time_in again", model)["messages"]]
        assert called(create(**rest).choices[0].message) == ["time_in"]


@feature("tool loop", needs="tools")
def test_other_models_calls(create, model):
    """A conversation that another model began, and a client that offers the tools no more."""
    ids = ["call_0123456789abcdefghijABCD", "toolu_bdrk_01AbCdEfGhIjKlMnOpQrStUv"]
    calls = [
        {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for id, name, arguments in zip(ids, ["weather_of", "time_in"], ["", '{"city": "Rome"}'])
    ]
    messages = [
        *says("Well?", model)["messages"],
        {"role": "assistant", "content": "Let me see.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": ids[0], "content": ""},
        {"role": "tool", "tool_call_id": ids[1], "content": "noon"},
    ]
    for more in [{}, {"tools": TOOLS}]:
        reply = create(**says("", model, messages=messages, **more))
        assert "noon" in reply.choices[0].message.content


@feature("tool choice", needs="tools")
def test_tool_choice(create, model):
    def calls(text, **more):
        return called(create(**says(text, model, tools=TOOLS, **more)).choices[0].message)

    both = "weather_of and time_in"
    assert calls(both, tool_choice="none") == []
    assert calls("Hello", tool_choice="auto") == []
    assert calls("Hello", tool_choice="required") == ["weather_of"]
    named = {"type": "function", "function": {"name": "time_in"}}
    assert calls("Hello", tool_choice=named) == ["time_in"]


@feature("one call at a time", needs="tools")
def test_one_call(create, model):
    ask = says("weather_of and time_in", model, tools=TOOLS)
    for allowed, expected in [(True, ["weather_of", "time_in"]), (False, ["weather_of"])]:
        ask["parallel_tool_calls"] = allowed
        choice = create(**ask).choices[0]
        assert (called(choice.message), choice.finish_reason) == (expected, "tool_calls")
        calls, _ = gathered(create(**ask, stream=True))
        assert [call.function.name for call in calls] == expected


@feature("vision", needs="vision")
def test_vision(create, model):
    one = create(**says("What is this?", model, parts=[IMAGE])).choices[0].message.content
    two = create(**says("And these?", model, parts=[IMAGE, IMAGE])).choices[0].message.content
    assert "I see 1 image." in one and "I see 2 images." in two


@feature("documents", needs="documents")
def test_documents(create, model):
    content = create(**says("What is it?", model, parts=[FILE])).choices[0].message.content
    assert 'You said: "What is it?". I read 1 document.' in content


@feature("json_schema", needs="json_schema")
def test_json_schema(impatient, model):
    ask = says("An invoice, please", model, response_format=Invoice)
    whole = impatient.chat.completions.parse(**ask).choices[0]
    assert isinstance(whole.message.parsed, Invoice) and whole.finish_reason == "stop"
    with impatient.chat.completions.stream(**ask) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        streamed = stream.get_final_completion().choices[0]
    assert streamed.message.parsed == whole.message.parsed and streamed.finish_reason == "stop"
    assert "".join(deltas) == whole.message.content and not whole.message.tool_calls


@feature("json_schema", needs="tools")
def test_json_schema_with_tools(create, model):
    ask = {**LEAST["json_schema"], "tools": TOOLS}
    assert called(create(**says("Use time_in", model, **ask)).choices[0].message) == ["time_in"]
    content = create(**says("An invoice, please", model, **ask)).choices[0].message.content
    assert Invoice.model_validate_json(content)


@feature("json_object", needs="json_object")
def test_json_object(create, model):
    ask = says("Answer in JSON", model, response_format=JSON)
    content = create(**ask).choices[0].message.content
    assert isinstance(json.loads(content), dict)
    assert text_of(create(**ask, stream=True)) == content


@feature("reasoning")
def test_reasoning(create, model):
    ask = says("Think", model, reasoning_effort="low")
    reply = create(**ask)
    message = reply.choices[0].message
    assert 'You said: "Think".' in message.content
    thought = reasoning_of(message)
    assert bool(thought) == (CHAT[model].get("reasons") == "shown")
    assert not thought or thought not in message.content
    if CHAT[model].get("reasons") == "unseen":
        low = reply.usage.completion_tokens_details.reasoning_tokens
        more = create(**{**ask, "reasoning_effort": "high"}).usage.completion_tokens_details
        assert 0 < low < more.reasoning_tokens
    chunks = list(create(**ask, stream=True))
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(map(reasoning_of, deltas)) == thought and text_of(chunks) == message.content
    said = [n for n, delta in enumerate(deltas) if delta.content]
    assert not any(reasoning_of(delta) for delta in deltas[said[0] :])
    # Less than some vendors think of at least.
    assert create(**{**ask, "max_tokens": 500, "reasoning_effort": "high"}).choices


@feature("reasoning + tools", needs="tools")
def test_reasoning_with_tools(create, model):
    ask = says("Use weather_of and time_in", model, tools=TOOLS, reasoning_effort="low")
    for kept in [turn, lambda message: message]:
        messages = list(ask["messages"])
        for _ in range(2):
            message = create(**{**ask, "messages": messages}).choices[0].message
            assert called(message) == ["weather_of", "time_in"]
            messages += [kept(message), *(result(call, "fine") for call in message.tool_calls)]
            last = create(**{**ask, "messages": messages}).choices[0].message
            assert "The tool says: fine · fine" in last.content
            messages += [last if kept is not turn else {"role": "assistant", "content": last.content}]
            messages += ask["messages"]
    calls, _ = gathered(create(**ask, stream=True))
    said = {"role": "assistant", "tool_calls": [call.model_dump(exclude={"index"}) for call in calls]}
    messages = [*ask["messages"], said, *(result(call, "fine") for call in calls)]
    assert "fine · fine" in text_of(create(**{**ask, "messages": messages}, stream=True))
    forced = create(**{**ask, "tool_choice": "required"}).choices[0].message
    assert called(forced)


@pytest.fixture(scope="module")
def begun(proxy):
    """Conversations that every model began, with all that it said."""
    client = openai.OpenAI(base_url=proxy.base_url, api_key=KEY, max_retries=0)
    conversations = {}
    for model in [m for m, row in CHAT.items() if "tools" not in row.get("lacks", {})]:
        ask = says("Use weather_of and time_in", model, tools=TOOLS, reasoning_effort="low")
        message = client.chat.completions.create(**ask).choices[0].message
        results = [result(call, "fine") for call in message.tool_calls]
        conversations[model] = [*ask["messages"], message, *results]
    return conversations


@feature("change of model")
def test_change_of_model(create, model, begun):
    able = "tools" not in CHAT[model].get("lacks", {})
    more = {"tools": TOOLS, "reasoning_effort": "low"} if able else {}
    for other, messages in begun.items():
        content = create(**says("", model, messages=messages, **more)).choices[0].message.content
        assert "fine" in content, other


@feature("length")
def test_length(create, model):
    for name in ["max_tokens", "max_completion_tokens"]:
        ask = {"model": model, "messages": says("A long tale", model)["messages"], name: 16}
        reply = create(**ask)
        assert reply.choices[0].finish_reason == "length"
        assert 0 < reply.usage.completion_tokens <= 16
        chunks = list(create(**ask, stream=True))
        assert chunks[-1].choices[0].finish_reason == "length"
        assert text_of(chunks) == (reply.choices[0].message.content or "")


@feature("stop", needs="stop")
def test_stop(create, model):
    for stop in ["HALT", ["never said", "HALT"]]:
        ask = says("Come HALT go", model, stop=stop)
        choice = create(**ask).choices[0]
        assert choice.finish_reason == "stop"
        assert choice.message.content.strip() == 'You said: "Come'
        assert text_of(create(**ask, stream=True)) == choice.message.content


@feature("errors")
def test_errors(create, model):
    wrong = [{"messages": []}, {"max_tokens": "many"}, {"stream": "yes"}, {"messages": "Hello"}]
    faults = [
        ("status=400", openai.BadRequestError),
        ("status=429 retry_after=7", openai.RateLimitError),
        ("status=500", openai.InternalServerError),
        ("status=503", openai.InternalServerError),
        ("no_answer", openai.InternalServerError),
    ]
    for more in wrong:
        with pytest.raises(openai.BadRequestError) as caught:
            create(**{**says("Hello", model), **more})
        assert caught.value.type == "invalid_request_error", more
    for fault, kind in faults:
        for stream in [False, True]:
            with pytest.raises(kind) as caught:
                create(**says("Hello", model, fault, stream=stream))
            assert caught.value.message and caught.value.type, fault
            if kind is openai.RateLimitError:
                assert caught.value.response.headers["retry-after"] == "7"
    with pytest.raises(openai.InternalServerError) as caught:
        create(**says("Hello", model, "status=403"))
    assert caught.value.status_code == 502 and "service key" in caught.value.message


@feature("errors in streams")
def test_errors_in_streams(create, model):
    # Nothing was sent yet, so it can still be the status that it means to the vendor.
    with pytest.raises((openai.RateLimitError, openai.InternalServerError)):
        create(**says("Hello", model, "error_after=0", stream=True))
    for fault in ["error_after=40", "cut_after=40", "end_after=40"]:
        seen = []
        with pytest.raises(openai.APIError) as caught:
            ask = says("Hello", model, f"frames=500 pause_ms=1 {fault}", stream=True)
            for chunk in create(**ask):
                seen.append(chunk)
        assert caught.value.message, fault
        assert text_of(seen).startswith("word1 word2 "), fault
        assert not [c for c in seen if c.choices[0].finish_reason], fault


LACKS = [(model, ability) for model, row in CHAT.items() for ability in row.get("lacks", {})]


@feature("refused")
@pytest.mark.parametrize("model, ability", LACKS)
def test_refused(impatient, create, model, ability):
    """What a vendor does not have is refused by name, or left out by name, and nothing silently."""
    for stream in [False, True]:
        if ability in CHAT[model].get("drops", []):
            raw = impatient.chat.completions.with_raw_response
            reply = raw.create(**says("Hello", model, **LEAST[ability], stream=stream))
            assert CHAT[model]["lacks"][ability] in reply.headers["x-proxy-dropped"]
            continue
        with pytest.raises(openai.BadRequestError) as caught:
            create(**says("Hello", model, **LEAST[ability], stream=stream))
        assert CHAT[model]["lacks"][ability] in f"{caught.value.param} {caught.value.message}"
