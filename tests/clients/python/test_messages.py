"""What Anthropic's Python SDK can do with every family. test_messages.test.mjs is the same list for Node."""

import re
import time
import uuid

import anthropic
import pytest
from anthropic import beta_tool
from asks import Invoice, prompt
from conftest import CHAT
from messages_asks import (
    ADAPTS,
    DOCUMENT,
    IMAGE,
    NOTE,
    THINKS,
    TOOLS,
    asks,
    bare_turn,
    called,
    calls_of,
    result,
    script,
    text_of,
    thought_of,
    turn,
    user,
)

TABLE, SDK = "messages", "anthropic for Python"
MODELS = CHAT
feature = pytest.mark.feature
ODD = 'It\'s "odd": {{?x}} {% if %} \\n \t 👋\u200b é\nline 2'
BOTH = ["weather_of", "time_in"]
SCHEMA = {"output_config": {"format": {"type": "json_schema", "schema": anthropic.transform_schema(Invoice)}}}

# The least request for what a vendor may not have.
LEAST = {
    "tools": {"tools": TOOLS},
    "vision": {"parts": [IMAGE]},
    "documents": {"parts": [DOCUMENT]},
    "stop": {"stop_sequences": ["stop"]},
}


@pytest.fixture
def create(patient):
    return patient.with_options(max_retries=0).messages.create


@pytest.fixture
def stream(patient):
    return patient.with_options(max_retries=0).messages.stream


def is_claude(model):
    """Through orchestration less is known of it."""
    return model.startswith("anthropic--")


def checked(events):
    """The events of a stream, which have to be in order."""
    kinds = [event.type for event in events if event.type != "ping"]
    assert kinds[:1] == ["message_start"] and kinds[-2:] == ["message_delta", "message_stop"]
    start = events[0].message
    assert (start.content, start.stop_reason, start.role) == ([], None, "assistant")
    assert start.id and start.usage.input_tokens >= 0
    blocks, is_open = -1, False
    for event in events:
        if event.type == "content_block_start":
            assert not is_open and event.index == blocks + 1
            blocks, is_open = event.index, True
            block = event.content_block
            empty = {"text": "", "thinking": "", "input": {}}
            assert all(getattr(block, name, value) == value for name, value in empty.items())
        elif event.type == "content_block_delta":
            assert is_open and event.index == blocks
        elif event.type == "content_block_stop":
            assert is_open and event.index == blocks
            is_open = False
    assert not is_open
    return events


def deltas(events, kind, field):
    found = [e.delta for e in events if e.type == "content_block_delta" and e.delta.type == kind]
    return "".join(getattr(delta, field) for delta in found)


@feature("chat")
def test_chat(create, model):
    reply = create(**asks(ODD, model))
    (block,) = [block for block in reply.content if block.type != "thinking"]
    assert block.type == "text" and f'You said: "{ODD}".' in block.text
    assert (reply.type, reply.role, reply.stop_reason) == ("message", "assistant", "end_turn")
    assert reply.stop_sequence is None and reply.id and reply.model
    assert reply._request_id
    least = {"model": model, "max_tokens": 1000, "messages": [user(prompt("Hello"))]}
    assert text_of(create(**least))


@feature("settings")
def test_settings(create, model):
    # The newest SDK names temperature, top_p and top_k no more.
    usual = {"extra_body": {"temperature": 0.3, "top_k": 40}, "metadata": {"user_id": '{"device_id":"x"}'}}
    more = {"extra_body": {"top_p": 0.9}, "service_tier": "auto", "stop_sequences": [], "tools": []}
    off = {"thinking": {"type": "disabled"}}
    unknown = {"extra_body": {"context_management": {"edits": []}, "no_such_field": 1}}
    for settings in [usual, more, off, unknown]:
        assert 'You said: "Hello".' in text_of(create(**asks("Hello", model, **settings)))


@feature("history")
def test_history(create, model):
    texts = [{"type": "text", "text": "Two"}, {"type": "text", "text": "Three"}]
    messages = [
        user("One"),
        user(texts),
        {"role": "assistant", "content": [{"type": "text", "text": "How can I help?"}]},
        user(prompt("Four")),
    ]
    told = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    for system in ["Be brief.", told, [*told, {"type": "text", "text": "Be nice."}]]:
        assert "Four" in text_of(create(**asks("", model, messages=messages, system=system)))
    amid = [*messages[:3], {"role": "system", "content": "Do be brief."}, messages[3]]
    begun = [*messages, {"role": "assistant", "content": "As I was saying,"}]
    for odd in [amid, begun, [{"role": "assistant", "content": "Hello"}, messages[3]]]:
        assert text_of(create(**asks("", model, messages=odd)))


@feature("stream")
def test_stream(create, stream, model):
    whole = create(**asks(ODD, model))
    events = checked(list(create(**asks(ODD, model), stream=True)))
    assert deltas(events, "text_delta", "text") == text_of(whole)
    assert events[-2].delta.stop_reason == "end_turn"
    with stream(**asks(ODD, model)) as streamed:
        assert "".join(streamed.text_stream) == text_of(whole)
        last = streamed.get_final_message()
        assert streamed.request_id
    assert [b.type for b in last.content] == [b.type for b in whole.content]
    assert text_of(last) == text_of(whole) and last.model == whole.model


@feature("stream")
def test_stream_is_prompt(stream, model):
    arrivals = []
    with stream(**asks("", model, "frames=60 pause_ms=9")) as streamed:
        text = ""
        for piece in streamed.text_stream:
            text += piece
            arrivals.append(time.monotonic())
    assert text.split() == [f"word{n}" for n in range(1, 61)]
    first, middle, last = arrivals[0], arrivals[len(arrivals) // 2], arrivals[-1]
    # Orchestration sends a few words at a time.
    assert len(arrivals) > 5 and middle - first > 0.03 and last - middle > 0.03, arrivals


@feature("stream")
def test_hang_up(create, stream, model):
    with stream(**asks("", model, "frames=1000 pause_ms=20")) as streamed:
        assert next(iter(streamed))
    assert text_of(create(**asks("Still there?", model)))


def sums(usage):
    """Of the same request the second time some may be cached."""
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    return usage.input_tokens + read + written, usage.output_tokens


@feature("usage")
def test_usage(create, stream, model):
    usage = create(**asks("Count me", model)).usage
    assert min(sums(usage)) > 0
    with stream(**asks("Count me", model)) as streamed:
        assert sums(streamed.get_final_message().usage) == sums(usage)


@feature("prompt cache")
def test_cache(create, stream, model):
    """Every model takes the points; Claude uses them."""
    point = {"cache_control": {"type": "ephemeral"}}
    system = [{"type": "text", "text": f"{uuid.uuid4()} " + "Be kind. " * 3000, **point}]
    tools = [TOOLS[0], {**TOOLS[1], **point}] if "tools" not in CHAT[model].get("lacks", {}) else []
    content = [{"type": "text", "text": prompt("Hello"), **point}]
    ask = asks("", model, system=system, tools=tools, messages=[user(content)])
    first = create(**ask).usage
    second = create(**ask).usage
    with stream(**ask) as streamed:
        third = streamed.get_final_message().usage
    if "anthropic--" in model:
        # The tools alone may have been there before.
        assert first.cache_creation_input_tokens > 3000 > 10 * (first.cache_read_input_tokens or 0)
        for later in [second, third]:
            assert later.cache_read_input_tokens > 3000
            assert not is_claude(model) or later.input_tokens < 1000
    assert sums(first) == sums(second) == sums(third)


@feature("count_tokens")
def test_count_tokens(patient, create, model):
    def count(text="Hello", **more):
        ask = asks(text, model, **more)
        del ask["max_tokens"]
        return patient.messages.count_tokens(**ask).input_tokens

    short, long = count(), count("Hello there, how are you today? " * 200)
    assert 0 < short < 200 and 800 < long < 4000
    assert count(system="Be brief, be nice, be quick.") > short
    messages = [user("Hello"), {"role": "assistant", "content": "Hi"}, user("How are you today?")]
    assert count(messages=messages) > 0
    if "tools" not in CHAT[model].get("lacks", {}):
        assert count(tools=TOOLS) > short + 20
    if "vision" not in CHAT[model].get("lacks", {}):
        assert count(parts=[IMAGE]) > short
    assert long / 3 < create(**asks("Hello there, how are you today? " * 200, model)).usage.input_tokens


@feature("tools", needs="tools")
def test_tools(create, model):
    reply = create(**asks("Please use weather_of", model, tools=TOOLS))
    assert reply.stop_reason == "tool_use"
    (call,) = calls_of(reply)
    assert call.name == "weather_of" and "city" in call.input
    assert re.fullmatch("[A-Za-z0-9_-]{1,64}", call.id), call.id
    assert not [b for b in reply.content if b.type == "text" and not b.text]
    plain = create(**asks("Hello", model, tools=TOOLS))
    assert plain.stop_reason == "end_turn" and text_of(plain) and not called(plain)
    bare = [{"name": "now", "input_schema": {"type": "object", "properties": {}}}]
    assert called(create(**asks("now", model, tools=bare))) == ["now"]


@feature("parallel", needs="tools")
def test_parallel(create, stream, model):
    ask = asks("Use weather_of and time_in", model, tools=TOOLS)
    whole = create(**ask)
    events = checked(list(create(**ask, stream=True)))
    assert deltas(events, "input_json_delta", "partial_json").count("city") == 2
    with stream(**ask) as streamed:
        last = streamed.get_final_message()
    for each in [whole, last]:
        assert called(each) == BOTH and each.stop_reason == "tool_use"
        assert all("city" in call.input for call in calls_of(each))
        assert len({call.id for call in calls_of(each)}) == 2
    assert [call.input for call in calls_of(whole)] == [call.input for call in calls_of(last)]


@feature("tool loop", needs="tools")
def test_tool_loop(create, stream, model):
    ask = asks("Use weather_of and time_in", model, tools=TOOLS)
    for kept in [turn, bare_turn]:
        asked = create(**ask)
        weather, clock = calls_of(asked)
        results = [result(clock, [{"type": "text", "text": "noon"}]), result(weather, "sunny", is_error=False)]
        messages = [*ask["messages"], kept(asked), user(results)]
        last = create(**{**ask, "messages": messages})
        assert last.stop_reason == "end_turn" and not called(last)
        assert "sunny" in text_of(last) and "noon" in text_of(last)
        with stream(**{**ask, "messages": messages}) as streamed:
            assert streamed.get_final_text() == text_of(last)
        messages += [kept(last), user(prompt("Now time_in again"))]
        assert called(create(**{**ask, "messages": messages})) == ["time_in"]


@feature("tool loop", needs="tools")
def test_odd_results(create, model):
    """Failures, results without content, a text beside them, and a conversation that another model began."""
    ids = ["call_0123456789abcdefghijABCD", "toolu_bdrk_01AbCdEfGhIjKlMnOpQrStUv"]
    calls = [
        {"type": "tool_use", "id": id, "name": name, "input": arguments}
        for id, name, arguments in zip(ids, BOTH, [{}, {"city": "Rome"}])
    ]
    said = {"role": "assistant", "content": [{"type": "text", "text": "Let me see."}, *calls]}
    failed = {"type": "tool_result", "tool_use_id": ids[0], "content": "no such city", "is_error": True}
    empty = {"type": "tool_result", "tool_use_id": ids[0]}
    fine = {"type": "tool_result", "tool_use_id": ids[1], "content": "noon"}
    for results in [[failed, fine], [empty, fine]]:
        messages = [user(prompt("Well?")), said, user(results)]
        for more in [{}, {"tools": TOOLS}]:
            assert "noon" in text_of(create(**asks("", model, messages=messages, **more)))
    beside = [failed, fine, {"type": "text", "text": "<system-reminder>Go on.</system-reminder>"}]
    messages = [user(prompt("Well?")), said, user(beside)]
    assert text_of(create(**asks("", model, messages=messages, tools=TOOLS)))


@feature("images in results", needs="tools")
def test_images_in_results(create, model):
    ask = asks("Use weather_of", model, tools=TOOLS)
    asked = create(**ask)
    seen = result(calls_of(asked)[0], [{"type": "text", "text": "a picture"}, IMAGE])
    ask["messages"] += [turn(asked), user([seen])]
    if "vision" in CHAT[model].get("lacks", {}):
        with pytest.raises(anthropic.BadRequestError, match="image"):
            create(**ask)
    else:
        last = create(**ask)
        assert last.stop_reason == "end_turn" and text_of(last)


@feature("tool choice", needs="tools")
def test_tool_choice(create, model):
    def calls(text, choice):
        return called(create(**asks(text, model, tools=TOOLS, tool_choice=choice)))

    assert calls("weather_of and time_in", {"type": "none"}) == []
    assert calls("Hello", {"type": "auto"}) == []
    assert calls("Hello", {"type": "any"}) == ["weather_of"]
    assert calls("Hello", {"type": "tool", "name": "time_in"}) == ["time_in"]


@feature("one call at a time", needs="tools")
def test_one_call(create, model):
    ask = asks("weather_of and time_in", model, tools=TOOLS)
    for single, expected in [(False, BOTH), (True, BOTH[:1])]:
        ask["tool_choice"] = {"type": "auto", "disable_parallel_tool_use": single}
        reply = create(**ask)
        assert (called(reply), reply.stop_reason) == (expected, "tool_use")


@feature("agent", needs="tools")
def test_agent(patient, create, model):
    """Turn by turn with exact inputs; by hand, and as the SDK's runner does it."""
    one, two = {"city": "Rome"}, {"city": 'Zürich "West"\n'}
    turns = [[("weather_of", one)], [("time_in", one), ("weather_of", two)], [("time_in", two)]]
    ask = asks("Do it", model, script(*turns), tools=TOOLS, **THINKS)
    messages, done = list(ask["messages"]), []
    for _ in range(5):
        reply = create(**{**ask, "messages": messages})
        if reply.stop_reason != "tool_use":
            break
        done.append([(call.name, call.input) for call in calls_of(reply)])
        results = [result(call, f"result {len(done)}") for call in calls_of(reply)]
        messages += [turn(reply), user(results)]
    assert done == turns and "result 3" in text_of(reply)
    seen = []

    @beta_tool
    def weather_of(city: str) -> str:
        """Tells the weather of a city."""
        seen.append(("weather_of", {"city": city}))
        return "sunny"

    @beta_tool
    def time_in(city: str) -> str:
        """Tells the time in a city."""
        seen.append(("time_in", {"city": city}))
        return "noon"

    ask = asks("Do it", model, script(*turns))
    runner = patient.beta.messages.tool_runner(**ask, tools=[weather_of, time_in])
    assert "noon" in text_of(runner.until_done())
    assert sorted(seen, key=str) == sorted([call for turn in turns for call in turn], key=str)


@feature("vision", needs="vision")
def test_vision(create, model):
    one = text_of(create(**asks("What is this?", model, parts=[IMAGE])))
    two = text_of(create(**asks("And these?", model, parts=[IMAGE, IMAGE])))
    assert "I see 1 image." in one and "I see 2 images." in two


@feature("documents", needs="documents")
def test_documents(create, model):
    reply = create(**asks("What is it?", model, parts=[DOCUMENT]))
    assert 'You said: "What is it?". I read 1 document.' in text_of(reply)


@feature("text documents")
def test_notes(create, model):
    """As such, or as a text."""
    text = text_of(create(**asks("What is it?", model, parts=[NOTE])))
    assert "What is it?" in text and ("The sky is green." in text or "I read 1 document." in text)


@feature("json_schema")
def test_json_schema(patient, model):
    ask = asks("An invoice, please", model)
    whole = patient.messages.parse(**ask, output_format=Invoice)
    assert isinstance(whole.parsed_output, Invoice) and whole.stop_reason == "end_turn"
    with patient.messages.stream(**ask, output_format=Invoice) as streamed:
        last = streamed.get_final_message()
    assert last.parsed_output == whole.parsed_output and last.stop_reason == "end_turn"
    assert not called(last)


@feature("json_schema", needs="tools")
def test_json_schema_with_tools(create, model):
    more = {**SCHEMA, "tools": TOOLS}
    assert called(create(**asks("Use time_in", model, **more))) == ["time_in"]
    assert Invoice.model_validate_json(text_of(create(**asks("An invoice, please", model, **more))))


@feature("thinking")
def test_thinking(create, stream, model):
    for more in [THINKS, ADAPTS]:
        ask = asks("Think", model, **more)
        whole = create(**ask)
        assert 'You said: "Think".' in text_of(whole)
        assert bool(thought_of(whole)) == (CHAT[model].get("reasons") == "shown"), more
        assert all(block.signature is not None for block in whole.content if block.type == "thinking")
        kinds = [block.type for block in whole.content]
        assert kinds in [["text"], ["thinking", "text"]]
        events = checked(list(create(**ask, stream=True)))
        assert deltas(events, "thinking_delta", "thinking") == thought_of(whole)
        with stream(**ask) as streamed:
            last = streamed.get_final_message()
        assert [block.type for block in last.content] == kinds
        assert [getattr(b, "signature", 0) for b in last.content] == [
            getattr(b, "signature", 0) for b in whole.content
        ]


@feature("thinking")
def test_thinking_is_taken(create, model):
    """With settings that Anthropic's own refuses beside it, and with less room than some vendors think of at least."""
    deep = {"thinking": {"type": "enabled", "budget_tokens": 31999}, "max_tokens": 32000}
    events = create(**asks("Think", model, **deep, stream=True))
    assert 'You said: "Think".' in deltas(checked(list(events)), "text_delta", "text")
    for effort in ["low", "medium", "high", "max"]:
        assert create(**asks("Think", model, output_config={"effort": effort})).content


@feature("thinking + tools", needs="tools")
def test_thinking_with_tools(create, stream, model):
    for more in [THINKS, ADAPTS]:
        ask = asks("Use weather_of and time_in", model, tools=TOOLS, **more)
        for kept in [turn, bare_turn]:
            messages = list(ask["messages"])
            for _ in range(2):
                reply = create(**{**ask, "messages": messages})
                assert called(reply) == BOTH
                messages += [kept(reply), user([result(call, "fine") for call in calls_of(reply)])]
                last = create(**{**ask, "messages": messages})
                assert "The tool says: fine · fine" in text_of(last)
                messages += [kept(last), *ask["messages"]]
        with stream(**ask) as streamed:
            reply = streamed.get_final_message()
        results = user([result(call, "fine") for call in calls_of(reply)])
        with stream(**{**ask, "messages": [*ask["messages"], turn(reply), results]}) as streamed:
            assert "fine · fine" in streamed.get_final_text()


@pytest.fixture(scope="module")
def begun(proxy):
    """Conversations that every model began, with all that it said."""
    client = anthropic.Anthropic(base_url=proxy.root_url, api_key="sk-demo", max_retries=0)
    conversations = {}
    for model in [m for m, row in CHAT.items() if "tools" not in row.get("lacks", {})]:
        ask = asks("Use weather_of and time_in", model, tools=TOOLS, **THINKS)
        reply = client.messages.create(**ask)
        results = user([result(call, "fine") for call in calls_of(reply)])
        conversations[model] = [*ask["messages"], turn(reply), results]
    return conversations


@feature("change of model")
def test_change_of_model(create, model, begun):
    """Back and forth: what the first said goes to the second, and what that said with it to the first."""
    able = "tools" not in CHAT[model].get("lacks", {})
    more = {"tools": TOOLS, **THINKS} if able else {}
    for other, messages in begun.items():
        reply = create(**asks("", model, messages=messages, **more))
        assert "fine" in text_of(reply), other
        back = [*messages, turn(reply), user(prompt("Now time_in"))]
        assert called(create(**asks("", other, messages=back, tools=TOOLS, **THINKS))) == ["time_in"]


@feature("length")
def test_length(create, stream, model):
    ask = asks("A long tale", model, max_tokens=16)
    reply = create(**ask)
    assert reply.stop_reason == "max_tokens" and 0 < reply.usage.output_tokens <= 16
    with stream(**ask) as streamed:
        last = streamed.get_final_message()
    assert last.stop_reason == "max_tokens" and text_of(last) == text_of(reply)


@feature("stop", needs="stop")
def test_stop(create, stream, model):
    for stops in [["HALT"], ["never said", "HALT"]]:
        ask = asks("Come HALT go", model, stop_sequences=stops)
        reply = create(**ask)
        assert text_of(reply).strip() == 'You said: "Come'
        expected = [("stop_sequence", "HALT")] + [("end_turn", None)] * (not is_claude(model))
        assert (reply.stop_reason, reply.stop_sequence) in expected
        with stream(**ask) as streamed:
            last = streamed.get_final_message()
        assert text_of(last) == text_of(reply)
        assert (last.stop_reason, last.stop_sequence) == (reply.stop_reason, reply.stop_sequence)


@feature("errors")
def test_errors(create, model):
    wrong = [{"messages": []}, {"max_tokens": "many"}, {"stream": "yes"}, {"messages": "Hello"}]
    faults = [
        ("status=400", anthropic.BadRequestError, "invalid_request_error"),
        ("status=413", anthropic.APIStatusError, "request_too_large"),
        ("status=429 retry_after=7", anthropic.RateLimitError, "rate_limit_error"),
        ("status=500", anthropic.InternalServerError, "api_error"),
        ("status=503", anthropic.InternalServerError, "overloaded_error"),
        ("status=529", anthropic.InternalServerError, "overloaded_error"),
        ("no_answer", anthropic.InternalServerError, "api_error"),
    ]
    for more in wrong:
        with pytest.raises(anthropic.BadRequestError) as caught:
            create(**asks("Hello", model), extra_body=more)
        assert caught.value.type == "invalid_request_error", more
    for fault, kind, name in faults:
        for is_stream in [False, True]:
            with pytest.raises(kind) as caught:
                create(**asks("Hello", model, fault, stream=is_stream))
            error = caught.value
            assert (error.type, error.body["type"]) == (name, "error"), fault
            assert error.api_message and error.request_id == error.body["request_id"]
            if kind is anthropic.RateLimitError:
                assert error.response.headers["retry-after"] == "7"
    with pytest.raises(anthropic.InternalServerError) as caught:
        create(**asks("Hello", model, "status=403"))
    assert caught.value.status_code == 502 and "service key" in caught.value.api_message


@feature("errors in streams")
def test_errors_in_streams(create, stream, model):
    # Nothing was sent yet, so it can still be the status that it means to the vendor.
    with pytest.raises((anthropic.RateLimitError, anthropic.InternalServerError)):
        create(**asks("Hello", model, "error_after=0", stream=True))
    for fault in ["error_after=20", "cut_after=20", "end_after=20"]:
        ask = asks("Hello", model, f"frames=500 pause_ms=1 {fault}")
        seen = []
        with pytest.raises(anthropic.APIStatusError) as caught:
            for event in create(**ask, stream=True):
                seen.append(event)
        kinds = ["api_error", "overloaded_error", "rate_limit_error", "timeout_error"]
        assert caught.value.type in kinds, fault
        assert caught.value.api_message, fault
        assert deltas(seen, "text_delta", "text").startswith("word1 word2 "), fault
        assert not [e for e in seen if e.type in ["message_delta", "message_stop"]], fault
    with pytest.raises(anthropic.APIStatusError), stream(**ask) as streamed:
        streamed.get_final_message()


LACKS = [(model, ability) for model, row in CHAT.items() for ability in row.get("lacks", {})]


@feature("refused")
@pytest.mark.parametrize("model, ability", LACKS)
def test_refused(patient, create, model, ability):
    """What a vendor does not have is refused by name, or left out by name, and nothing silently."""
    for is_stream in [False, True]:
        if ability in CHAT[model].get("drops", []):
            raw = patient.messages.with_raw_response
            reply = raw.create(**asks("Hello", model, **LEAST[ability], stream=is_stream))
            assert CHAT[model]["lacks"][ability] in reply.headers["x-proxy-dropped"]
            continue
        with pytest.raises(anthropic.BadRequestError) as caught:
            create(**asks("Hello", model, **LEAST[ability], stream=is_stream))
        assert CHAT[model]["lacks"][ability] in caught.value.api_message
