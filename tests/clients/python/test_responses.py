"""What the official Python SDK can do with the Responses API of every family. test_responses.test.mjs is the same list for
Node."""

import gzip
import json
import re
import time

import httpx
import openai
import pytest
import zstandard
from asks import KEY, Invoice, prompt, text_of
from conftest import RESPONSES
from messages_asks import script
from openai import AzureOpenAI, OpenAI, Stream
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from responses_asks import (
    DOCUMENT,
    IMAGE,
    MENDED,
    PATCH,
    PATCH_BY_GRAMMAR,
    SEALED,
    SEARCH,
    THINKS,
    TOOLS,
    asks,
    bare,
    begun,
    called,
    calls_of,
    checked,
    deltas,
    is_passed,
    items_of,
    reasons,
    result,
    thought_of,
    user,
)

TABLE, SDK = "responses", "openai for Python"
MODELS = RESPONSES
feature = pytest.mark.feature
# The SDK has compacted messages as replies, and then finds their parts strange.
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
ODD = 'It\'s "odd": {{?x}} {% if %} \\n \t 👋\u200b é\nline 2'
BOTH = ["weather_of", "time_in"]
SCHEMA = Invoice.model_json_schema()
# Fields that the SDK's `Response` always has.
FIELDS = """id object created_at status model output error incomplete_details instructions metadata parallel_tool_calls
    temperature top_p tool_choice tools usage text reasoning previous_response_id store truncation""".split()

# The least request for what a vendor may not have.
LEAST = {
    "tools": {"tools": TOOLS},
    "vision": {"parts": [IMAGE]},
    "documents": {"parts": [DOCUMENT]},
}


@pytest.fixture(scope="module")
def impatient(proxy):
    """One for all: most of a short test is a new client."""
    with OpenAI(base_url=proxy.base_url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def responses(impatient):
    return impatient.responses


@pytest.fixture
def create(responses):
    return responses.create


@pytest.fixture
def stream(responses):
    return responses.stream


def is_able(model, ability):
    return ability not in RESPONSES[model].get("lacks", {})


@feature("create")
def test_create(create, model):
    told = {"instructions": "Be brief.", "metadata": {"a": "b"}}
    reply = create(**asks(ODD, model, **told))
    assert (reply.object, reply.status, reply.model) == ("response", "completed", model)
    assert re.fullmatch("resp_[A-Za-z0-9_]+", reply.id) and abs(reply.created_at - time.time()) < 60
    assert (reply.error, reply.incomplete_details, reply.previous_response_id) == (None, None, None)
    assert (reply.instructions, reply.metadata) == ("Be brief.", {"a": "b"})
    assert (reply.tools, reply.tool_choice, reply.parallel_tool_calls) == ([], "auto", True)
    assert not set(FIELDS) - set(reply.to_dict())
    (message,) = items_of(reply, "message")
    assert (message.role, message.status) == ("assistant", "completed")
    assert message.id.startswith("msg_") and [part.type for part in message.content] == ["output_text"]
    assert message.content[0].annotations == [] and f'You said: "{ODD}".' in reply.output_text
    assert reply._request_id
    parts = [{"type": "input_text", "text": "Hello"}, {"type": "input_text", "text": prompt("there")}]
    for given in [[user(prompt("Hello there"))], [{"type": "message", **user(parts)}]]:
        assert re.search(r"Hello\s+there", create(model=model, input=given).output_text)


@feature("settings")
def test_settings(create, model):
    sampling = {"temperature": 0.3, "top_p": 0.9, "max_output_tokens": 4000, "top_logprobs": 0}
    known = {"user": "x", "safety_identifier": "x", "prompt_cache_key": "x", "service_tier": "auto"}
    plain = {"truncation": "disabled", "text": {"format": {"type": "text"}, "verbosity": "low"}, "store": False}
    empty = {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "include": [], "background": False}
    nothing = {"extra_body": dict.fromkeys(["instructions", "previous_response_id", "reasoning", "tools", "text"])}
    own = {"extra_body": {"client_metadata": {"x": "y"}}}
    for settings in [sampling, known, plain, empty, nothing, own]:
        assert 'You said: "Hello".' in create(**asks("Hello", model, **settings)).output_text, settings


@feature("history")
def test_history(create, model):
    said = {"role": "assistant", "content": "How can I help?"}
    output = {"type": "output_text", "text": "How can I help?", "annotations": []}
    kept = {"type": "message", "id": "msg_0a1b2c", "status": "completed", "role": "assistant", "content": [output]}
    parts = [{"type": "input_text", "text": "Two"}, {"type": "input_text", "text": "Three"}]
    last = user(prompt("Four"))
    told = [{"role": "developer", "content": "Be brief."}, {"role": "system", "content": "Be nice."}]
    for before in [[user("One"), said], [*told, user(parts), kept], [user("One"), kept, told[0]], [said]]:
        for more in [{}, {"instructions": "Be quick."}]:
            assert "Four" in create(model=model, input=[*before, last], **more).output_text
    assert create(model=model, input=[last, said]).output_text


@feature("stream")
def test_stream(create, stream, model):
    whole = create(**asks(ODD, model))
    events = checked(list(create(**asks(ODD, model), stream=True)))
    assert deltas(events, "output_text") == whole.output_text == events[-1].response.output_text
    with stream(**asks(ODD, model)) as streamed:
        pieces = [event for event in streamed if event.type == "response.output_text.delta"]
        last = streamed.get_final_response()
    assert pieces[-1].snapshot == "".join(p.delta for p in pieces) == last.output_text == whole.output_text
    kinds = [item.type for item in whole.output]
    assert [item.type for item in last.output] == kinds
    ends = [whole, events[-1].response, last]
    assert [(r.status, r.model) for r in ends] == [("completed", model)] * 3


@feature("stream")
def test_stream_names_its_events(responses, model):
    ask = asks("Hello", model, stream=True, stream_options={"include_obfuscation": False})
    with responses.with_streaming_response.create(**ask) as raw:
        assert raw.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in raw.iter_lines() if line and not line.startswith(":")]
    names, data = lines[::2], lines[1::2]
    assert len(names) == len(data) > 8
    for name, event in zip(names, data):
        kind = json.loads(event.removeprefix("data:"))["type"]
        assert name == f"event: {kind}"


@feature("stream")
def test_stream_is_prompt(stream, model):
    arrivals, text = [], ""
    with stream(**asks("", model, "frames=60 pause_ms=9")) as streamed:
        for event in streamed:
            if event.type == "response.output_text.delta":
                text += event.delta
                arrivals.append(time.monotonic())
    assert text.split() == [f"word{n}" for n in range(1, 61)]
    first, middle, last = arrivals[0], arrivals[len(arrivals) // 2], arrivals[-1]
    # Orchestration sends a few words at a time.
    assert len(arrivals) > 5 and middle - first > 0.03 and last - middle > 0.03, arrivals


@feature("stream")
def test_hang_up(create, stream, model):
    with stream(**asks("", model, "frames=1000 pause_ms=20")) as streamed:
        assert next(iter(streamed)).type == "response.created"
    assert create(**asks("Still there?", model)).output_text


@feature("usage")
def test_usage(create, model):
    usage = create(**asks("Count me", model)).usage
    assert usage.input_tokens > 0 and usage.output_tokens > 0
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert 0 <= usage.input_tokens_details.cached_tokens <= usage.input_tokens
    assert 0 <= usage.output_tokens_details.reasoning_tokens <= usage.output_tokens
    assert not is_passed(model) or usage.output_tokens_details.reasoning_tokens
    streamed = list(create(**asks("Count me", model), stream=True))[-1].response.usage
    for name in ["input_tokens", "output_tokens", "output_tokens_details"]:
        assert getattr(streamed, name) == getattr(usage, name)


@feature("tools", needs="tools")
def test_tools(create, model):
    reply = create(**asks("Please use weather_of", model, tools=TOOLS))
    (call,) = calls_of(reply)
    assert (reply.status, call.status, call.name) == ("completed", "completed", "weather_of")
    assert "city" in json.loads(call.arguments) and call.id.startswith("fc_")
    assert re.fullmatch("[A-Za-z0-9_-]{1,64}", call.call_id), call.call_id
    assert [tool.name for tool in reply.tools] == BOTH
    plain = create(**asks("Hello", model, tools=TOOLS))
    assert plain.output_text and not called(plain)
    strict = {"type": "object", "properties": {}, "additionalProperties": False, "required": []}
    for more in [{"parameters": strict, "strict": True}, {"parameters": None, "strict": None}]:
        now = {"type": "function", "name": "now", **more}
        (call,) = calls_of(create(**asks("now", model, tools=[now])))
        assert (call.name, json.loads(call.arguments)) == ("now", {})


@feature("parallel", needs="tools")
def test_parallel(create, stream, model):
    ask = asks("Use weather_of and time_in", model, tools=TOOLS)
    whole = create(**ask)
    events = checked(list(create(**ask, stream=True)))
    assert deltas(events, "function_call_arguments").count("city") == 2
    with stream(**ask) as streamed:
        last = streamed.get_final_response()
    for each in [whole, events[-1].response, last]:
        assert called(each) == BOTH and each.status == "completed"
        assert len({call.call_id for call in calls_of(each)}) == len({call.id for call in calls_of(each)}) == 2
    given = [[json.loads(call.arguments) for call in calls_of(reply)] for reply in [whole, last]]
    assert given[0] == given[1]


@feature("tool loop", needs="tools")
def test_tool_loop(create, stream, model):
    """The conversation is sent again, with all that was said or with what some clients keep; or its id is."""
    ask = asks("Use weather_of and time_in", model, tools=TOOLS)
    for kept in [lambda reply: reply.output, bare, None]:
        asked = create(**ask)
        weather, clock = calls_of(asked)
        results = [result(weather, "sunny"), result(clock, [{"type": "input_text", "text": "noon"}])]
        if kept:
            more = {"input": [user(ask["input"]), *kept(asked), *results]}
        else:
            more = {"input": results, "previous_response_id": asked.id}
        last = create(**{**ask, **more})
        assert not called(last) and "sunny · noon" in last.output_text
        with stream(**{**ask, **more}) as streamed:
            assert streamed.get_final_response().output_text == last.output_text
        again = user(prompt("Now time_in again"))
        if kept:
            more = {"input": [*more["input"], *kept(last), again]}
        else:
            more = {"input": [again], "previous_response_id": last.id}
        assert called(create(**{**ask, **more})) == ["time_in"]


@feature("tool loop", needs="tools")
def test_odd_results(create, model):
    """Results in another order, without text, after a message; calls that another model made."""
    ids = ["call_0123456789abcdefghijABCD", "toolu_bdrk_01AbCdEfGhIjKlMnOpQrStUv"]
    calls = [
        {"type": "function_call", "call_id": id, "name": name, "arguments": arguments}
        for id, name, arguments in zip(ids, BOTH, ["{}", '{"city": "Rome"}'])
    ]
    empty, fine = [
        {"type": "function_call_output", "call_id": id, "output": output} for id, output in zip(ids, ["", "noon"])
    ]
    said = {"role": "assistant", "content": "Let me see."}
    one_by_one = [calls[0], empty, calls[1], fine]
    for items in [[*calls, empty, fine], [said, *calls, fine, empty], [said, *one_by_one]]:
        for more in [{}, {"tools": TOOLS}]:
            reply = create(model=model, input=[user(prompt("Well?")), *items], **more)
            assert "noon" in reply.output_text
    beside = [user(prompt("Well?")), *calls, empty, fine, user(prompt("Go on."))]
    assert create(model=model, input=beside, tools=TOOLS).output_text


@feature("images in results", needs="tools")
def test_images_in_results(create, model):
    ask = asks("Use weather_of", model, tools=TOOLS)
    asked = create(**ask)
    seen = result(calls_of(asked)[0], [{"type": "input_text", "text": "a picture"}, IMAGE])
    ask["input"] = [user(ask["input"]), *asked.output, seen]
    if is_able(model, "vision"):
        last = create(**ask)
        assert last.status == "completed" and last.output_text
    else:
        with pytest.raises(openai.BadRequestError, match="image"):
            create(**ask)


@feature("tool choice", needs="tools")
def test_tool_choice(create, model):
    def calls(text, choice):
        return called(create(**asks(text, model, tools=TOOLS, tool_choice=choice)))

    allowed = [{"type": "function", "name": "time_in"}]
    assert calls("weather_of and time_in", "none") == []
    assert calls("Hello", "auto") == []
    assert calls("Hello", "required") == ["weather_of"]
    assert calls("Hello", {"type": "function", "name": "time_in"}) == ["time_in"]
    assert calls("Hello", {"type": "allowed_tools", "mode": "required", "tools": allowed}) == ["time_in"]
    assert calls("weather_of", {"type": "allowed_tools", "mode": "auto", "tools": allowed}) == []


@feature("one call at a time", needs="tools")
def test_one_call(create, model):
    for parallel, expected in [(True, BOTH), (False, BOTH[:1])]:
        reply = create(**asks("weather_of and time_in", model, tools=TOOLS, parallel_tool_calls=parallel))
        assert (called(reply), reply.parallel_tool_calls) == (expected, parallel)


@feature("agent", needs="tools")
def test_agent(create, model):
    """Turn by turn with exact arguments."""
    one, two = {"city": "Rome"}, {"city": 'Zürich "West"\n'}
    turns = [[("weather_of", one)], [("time_in", one), ("weather_of", two)], [("time_in", two)]]
    ask = asks("Do it", model, script(*turns), tools=TOOLS, **THINKS)
    for by_id in [False, True]:
        given, previous, done = [user(ask["input"])], None, []
        for _ in range(5):
            reply = create(**{**ask, "input": given}, previous_response_id=previous)
            if not calls_of(reply):
                break
            done.append([(call.name, json.loads(call.arguments)) for call in calls_of(reply)])
            results = [result(call, f"result {len(done)}") for call in calls_of(reply)]
            given = results if by_id else [*given, *reply.output, *results]
            previous = reply.id if by_id else None
        assert done == turns and "result 3" in reply.output_text


@feature("custom tools", needs="tools")
def test_custom_tools(create, stream, model):
    for tool in [PATCH, PATCH_BY_GRAMMAR]:
        ask = asks("Mend it", model, script([("apply_patch", {"input": MENDED})]), tools=[TOOLS[0], tool])
        whole = create(**ask)
        events = checked(list(create(**ask, stream=True)))
        with stream(**ask) as streamed:
            last = streamed.get_final_response()
        assert deltas(events, "custom_tool_call_input") == MENDED
        for reply in [whole, events[-1].response, last]:
            (call,) = items_of(reply, "custom_tool_call")
            assert (call.name, call.input, reply.status) == ("apply_patch", MENDED, "completed")
            assert call.id.startswith("ctc_") and call.call_id and not called(reply)
            assert [(tool.type, tool.name) for tool in reply.tools][1] == ("custom", "apply_patch")
        done = result(call, "Done!")
        for more in [
            {"input": [user(ask["input"]), *last.output, done]},
            {"input": [done], "previous_response_id": last.id},
        ]:
            reply = create(**{**ask, **more})
            assert "The tool says: Done!" in reply.output_text and not items_of(reply, "custom_tool_call")


@feature("custom tools", needs="tools")
def test_custom_tools_as_chosen(create, model):
    for choice in [{"type": "custom", "name": "apply_patch"}, "required"]:
        reply = create(**asks("Hello", model, tools=[PATCH, TOOLS[1]], tool_choice=choice))
        (call,) = items_of(reply, "custom_tool_call")
        assert call.name == "apply_patch" and isinstance(call.input, str) and not called(reply)
    both = create(**asks("Use apply_patch and time_in", model, tools=[TOOLS[1], PATCH]))
    kinds = {item.type for item in both.output} - {"reasoning", "message"}
    assert kinds == {"function_call", "custom_tool_call"}


@feature("hosted tools", needs="tools")
def test_hosted_tools(responses, model):
    """They run nowhere here: they are left out by name, and the others work."""
    ask = asks("Use time_in", model, tools=[SEARCH, *TOOLS])
    raw = responses.with_raw_response.create(**ask)
    assert "web_search" in raw.headers["x-proxy-dropped"]
    assert called(raw.parse()) == ["time_in"]
    chosen = {**ask, "tool_choice": {"type": "web_search"}}
    assert responses.create(**chosen).status == "completed"
    alone = asks("Hello", model, tools=[SEARCH], tool_choice="auto")
    raw = responses.with_raw_response.create(**alone)
    assert "web_search" in raw.headers["x-proxy-dropped"] and raw.parse().output_text


@feature("vision", needs="vision")
def test_vision(create, model):
    assert "I see 1 image." in create(**asks("What is this?", model, parts=[IMAGE])).output_text
    assert "I see 2 images." in create(**asks("And these?", model, parts=[IMAGE, IMAGE])).output_text


@feature("documents", needs="documents")
def test_documents(create, model):
    reply = create(**asks("What is it?", model, parts=[DOCUMENT]))
    assert 'You said: "What is it?". I read 1 document.' in reply.output_text


@feature("json_schema")
def test_json_schema(responses, model):
    ask = asks("An invoice, please", model)
    whole = responses.parse(**ask, text_format=Invoice)
    assert isinstance(whole.output_parsed, Invoice) and whole.text.format.type == "json_schema"
    with responses.stream(**ask, text_format=Invoice) as streamed:
        last = streamed.get_final_response()
    assert last.output_parsed == whole.output_parsed and not called(last)
    plain = {"type": "json_schema", "name": "invoice", "schema": SCHEMA, "strict": False}
    for more in [{"format": plain}, {"format": plain, "verbosity": "low"}]:
        text = responses.create(**ask, text=more).output_text
        assert Invoice.model_validate_json(text)


@feature("json_schema", needs="tools")
def test_json_schema_with_tools(responses, model):
    asked = responses.parse(**asks("Use time_in", model, tools=TOOLS[1:]), text_format=Invoice)
    assert called(asked) == ["time_in"] and asked.output_parsed is None
    said = responses.parse(**asks("An invoice, please", model, tools=TOOLS), text_format=Invoice)
    assert isinstance(said.output_parsed, Invoice)


@feature("json_object")
def test_json_object(create, model):
    ask = asks("Answer in JSON", model, text={"format": {"type": "json_object"}})
    assert isinstance(json.loads(create(**ask).output_text), dict)


@feature("previous_response_id")
def test_chain(create, stream, model):
    reply = create(**asks("One", model))
    sizes = [reply.usage.input_tokens]
    for text in ["Two", "Three", "Four"]:
        before = reply.id
        reply = create(**asks(text, model, previous_response_id=before))
        assert f'You said: "{text}".' in reply.output_text and reply.previous_response_id == before
        sizes.append(reply.usage.input_tokens)
    with stream(**asks("Five", model, previous_response_id=reply.id)) as streamed:
        last = streamed.get_final_response()
    sizes.append(last.usage.input_tokens)
    assert 'You said: "Five".' in last.output_text and sizes == sorted(set(sizes)), sizes
    # A branch from amid the chain, from a response that was streamed.
    for _ in range(2):
        assert create(**asks("Six", model, previous_response_id=last.id)).usage.input_tokens > sizes[-1]


def lost(error, id):
    """OpenAI's own says 400 for a conversation that it does not know."""
    assert isinstance(error, (openai.NotFoundError, openai.BadRequestError))
    return id in error.message and (error.param, error.type) == ("previous_response_id", "invalid_request_error")


@feature("previous_response_id")
def test_unknown_chain(create, model):
    forgotten = create(**asks("One", model, store=False)).id
    for id in ["resp_0123456789abcdef0123456789abcdef", forgotten]:
        for is_stream in [False, True]:
            with pytest.raises(openai.APIStatusError) as caught:
                create(**asks("Two", model, previous_response_id=id, stream=is_stream))
            assert lost(caught.value, id), caught.value
            assert is_passed(model) or isinstance(caught.value, openai.NotFoundError)


@feature("retrieve, delete")
def test_retrieve_and_delete(create, responses, model):
    streamed = list(create(**asks("Keep me", model, stream=True)))[-1].response
    for made in [create(**asks("Keep me", model, metadata={"a": "b"})), streamed]:
        found = responses.retrieve(made.id)
        assert found.to_dict() == made.to_dict()
        assert responses.delete(made.id) is None
        for ask in [responses.retrieve, responses.delete, responses.input_items.list]:
            with pytest.raises(openai.NotFoundError, match=made.id):
                ask(made.id)
        with pytest.raises(openai.APIStatusError) as caught:
            create(**asks("More", model, previous_response_id=made.id))
        assert lost(caught.value, made.id)


@feature("retrieve, delete")
def test_not_stored(create, responses, model):
    for more in [{}, {"stream": True}]:
        reply = create(**asks("Forget me", model, store=False, **more))
        if more:
            reply = list(reply)[-1].response
        assert reply.store is False
        with pytest.raises(openai.NotFoundError, match=reply.id):
            responses.retrieve(reply.id)


@feature("input_items")
def test_input_items(create, responses, model):
    given = [{"role": "developer", "content": "Be brief."}, user("One"), user(prompt("Two"))]
    reply = create(model=model, input=given)
    items = list(responses.input_items.list(reply.id))
    assert [item.role for item in items] == ["user", "user", "developer"]
    assert [item.content[0].text for item in items][1:] == ["One", "Be brief."]
    assert all(item.id and item.type == "message" for item in items)
    paged = responses.input_items.list(reply.id, order="asc", limit=1)
    assert [item.id for item in paged] == [item.id for item in items][::-1] and paged.has_more
    text = create(**asks("Hello", model))
    (item,) = responses.input_items.list(text.id).data
    assert (item.role, item.content[0].type) == ("user", "input_text")


@feature("background")
def test_background(responses, model):
    """Where there is no such thing the answer is there at once."""
    raw = responses.with_raw_response.create(**asks("Take your time", model, background=True))
    reply = begun = raw.parse()
    assert (begun.status, begun.background) == (("queued", True) if is_passed(model) else ("completed", False))
    assert is_passed(model) or "background" in raw.headers["x-proxy-dropped"]
    for _ in range(5):
        if reply.status in ["queued", "in_progress"]:
            reply = responses.retrieve(begun.id)
    assert reply.status == "completed" and 'You said: "Take your time".' in reply.output_text
    more = responses.create(**asks("More", model, previous_response_id=reply.id))
    assert 'You said: "More".' in more.output_text


@feature("background")
def test_cancel(create, responses, model):
    """Not of what is done or not known."""
    if is_passed(model):
        halted = responses.cancel(create(**asks("Never mind", model, background=True)).id)
        assert (halted.status, halted.model) == ("cancelled", model)
        assert responses.retrieve(halted.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="[Cc]ancel"):
        responses.cancel(create(**asks("Hello", model)).id)
    for id in ["resp_0123456789abcdef0123456789abcdef", "nonsense"]:
        with pytest.raises(openai.NotFoundError, match=id):
            responses.cancel(id)


@feature("reasoning")
def test_reasoning(create, stream, model):
    for more in [{}, {"max_output_tokens": 32000}, {"store": False}]:
        ask = asks("Think", model, **THINKS, **more)
        whole = create(**ask)
        assert 'You said: "Think".' in whole.output_text
        assert bool(thought_of(whole)) == reasons(model)
        kinds = [item.type for item in whole.output]
        assert kinds == ["reasoning", "message"] if reasons(model) else kinds == ["message"]
        events = checked(list(create(**ask, stream=True)))
        assert deltas(events, "reasoning_summary_text") == thought_of(whole)
        with stream(**ask) as streamed:
            assert [item.type for item in streamed.get_final_response().output] == kinds
        assert whole.reasoning.effort == "low"
    for effort in ["minimal", "medium", "high"]:
        assert create(**asks("Think", model, reasoning={"effort": effort})).output_text


@feature("reasoning")
def test_no_summary(create, model):
    """Nobody asked for one."""
    reply = create(**asks("Think", model, reasoning={"effort": "high"}))
    assert not thought_of(reply) and reply.output_text


@feature("reasoning + tools", needs="tools")
def test_reasoning_with_tools(create, model):
    """What was thought comes back: encrypted, as an item that is kept, by the response's id, or not at all."""
    for more in [SEALED, {}]:
        ask = asks("Use weather_of and time_in", model, tools=TOOLS, **THINKS, **more)
        for kept in [lambda reply: reply.output, bare]:
            given = [user(ask["input"])]
            for _ in range(2):
                reply = create(**{**ask, "input": given})
                assert called(reply) == BOTH and bool(thought_of(reply)) == reasons(model)
                thoughts = items_of(reply, "reasoning")
                assert not more or all(item.encrypted_content for item in thoughts)
                given += [*kept(reply), *[result(call, "fine") for call in calls_of(reply)]]
                last = create(**{**ask, "input": given})
                assert "The tool says: fine · fine" in last.output_text
                given += [*kept(last), user(ask["input"])]
    events = checked(list(create(**ask, **{"stream": True, "include": SEALED["include"]})))
    reply = events[-1].response
    results = [result(call, "fine") for call in calls_of(reply)]
    for more in [{"previous_response_id": reply.id}, {"input": [user(ask["input"]), *reply.output, *results]}]:
        streamed = checked(list(create(**{**ask, "input": results, **more}, stream=True)))
        assert "fine · fine" in streamed[-1].response.output_text
    references = [{"type": "item_reference", "id": item.id} for item in reply.output]
    again = create(**{**ask, "input": [user(ask["input"]), *references, *results]})
    assert "fine · fine" in again.output_text


@pytest.fixture(scope="module")
def started(impatient):
    """Conversations that every model began, with all that it said."""
    conversations = {}
    for model in [m for m in RESPONSES if is_able(m, "tools")]:
        ask = asks("Use weather_of and time_in", model, tools=TOOLS, **THINKS, **SEALED)
        reply = impatient.responses.create(**ask)
        results = [result(call, "fine") for call in calls_of(reply)]
        conversations[model] = [user(ask["input"]), *reply.output, *results]
    return conversations


@feature("change of model")
def test_change_of_model(create, model, started):
    """Back and forth: what the first said goes to the second, and what that said with it to the first."""
    more = {"tools": TOOLS, **THINKS, **SEALED} if is_able(model, "tools") else SEALED
    for other, given in started.items():
        reply = create(model=model, input=given, **more)
        assert "fine" in reply.output_text, other
        back = [*given, *reply.output, user(prompt("Now time_in"))]
        assert called(create(model=other, input=back, tools=TOOLS, **THINKS, **SEALED)) == ["time_in"], other


@feature("change of model")
def test_change_of_model_by_id(create, model):
    """Kept here for all models; of what AI Core keeps only one that has it there can go on."""
    ours = create(**asks("One", "gemini-2.5-flash"))
    reply = create(**asks("Two", model, previous_response_id=ours.id))
    assert 'You said: "Two".' in reply.output_text
    theirs = create(**asks("One", "gpt-5"))
    if model == "gpt-5":
        assert create(**asks("Two", model, previous_response_id=theirs.id)).output_text
    else:
        with pytest.raises(openai.APIStatusError) as caught:
            create(**asks("Two", model, previous_response_id=theirs.id))
        assert lost(caught.value, theirs.id)


@feature("compact")
def test_compact(create, responses, model):
    said = [user("One"), {"role": "assistant", "content": "Two"}, user(prompt("Three"))]
    kept = create(model=model, input=said)
    for more in [{"input": said}, {"previous_response_id": kept.id, "input": [user(prompt("Four"))]}]:
        short = responses.compact(model=model, instructions="Be brief.", **more)
        assert short.object == "response.compaction" and short.id.startswith("resp_")
        assert min(short.usage.input_tokens, short.usage.output_tokens) > 0
        last = short.output[-1]
        assert last.type == "compaction" and last.encrypted_content and last.id.startswith("cmp_")
        assert all(item.role == "user" for item in short.output[:-1])
        given = [*short.output, user(prompt("Five"))]
        for more in [{}, {"store": False, "stream": True}]:
            reply = create(model=model, input=given, **more)
            reply = checked(list(reply))[-1].response if more else reply
            assert 'Five".' in reply.output_text and (is_passed(model) or "summary" in reply.output_text)


@feature("length")
def test_length(create, model):
    ask = asks("A long tale", model, max_output_tokens=16)
    reply = create(**ask)
    events = checked(list(create(**ask, stream=True)))
    for each in [reply, events[-1].response]:
        assert (each.status, each.incomplete_details.reason) == ("incomplete", "max_output_tokens")
        assert 0 < each.usage.output_tokens <= 16 and each.max_output_tokens == 16
        assert each.output_text == reply.output_text and each.output[-1].status == "incomplete"
    assert events[-1].type == "response.incomplete"


@feature("errors")
def test_errors(create, responses, model):
    """An item of an unknown type is left out by name: there will be new ones."""
    nonsense = {"type": "nonsense"}
    dropped = responses.with_raw_response.create(model=model, input=[user(prompt("Hello")), nonsense]).headers
    assert "input[] of type nonsense" in dropped["x-proxy-dropped"]
    wrong = [
        ({"input": 5}, "input"),
        ({"input": [5]}, "input[0]"),
        ({"input": [user([nonsense])]}, "input[0].content"),
        ({"max_output_tokens": "many"}, "max_output_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"instructions": 7}, "instructions"),
        ({"tools": "all"}, "tools"),
        ({"text": {"format": nonsense}}, "text.format"),
        ({"reasoning": {"effort": 7}}, "reasoning.effort"),
        ({"previous_response_id": 7}, "previous_response_id"),
    ]
    for more, path in wrong:
        with pytest.raises(openai.BadRequestError) as caught:
            create(**asks("Hello", model), extra_body=more)
        error = caught.value
        assert error.type == "invalid_request_error" and error.request_id, more
        assert error.param.startswith(path) and error.message, (more, error)
    faults = [
        ("status=400", openai.BadRequestError),
        ("status=413", openai.APIStatusError),
        ("status=429 retry_after=7", openai.RateLimitError),
        ("status=500", openai.InternalServerError),
        ("status=503", openai.InternalServerError),
        ("no_answer", openai.InternalServerError),
    ]
    for fault, kind in faults:
        for is_stream in [False, True]:
            with pytest.raises(kind) as caught:
                create(**asks("Hello", model, fault, stream=is_stream))
            assert caught.value.message and caught.value.request_id
            if kind is openai.RateLimitError:
                assert caught.value.response.headers["retry-after"] == "7"
    with pytest.raises(openai.InternalServerError) as caught:
        create(**asks("Hello", model, "status=403"))
    assert caught.value.status_code == 502 and "service key" in caught.value.message


@feature("errors")
@pytest.mark.parametrize("model", ["gpt-4o"])
def test_not_admitted(impatient, model):
    for is_stream in [False, True]:
        with pytest.raises(openai.NotFoundError) as caught:
            impatient.responses.create(**asks("Hello", "gpt-0", stream=is_stream))
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
        stranger = impatient.with_options(api_key="sk-wrong").responses
        with pytest.raises(openai.AuthenticationError) as caught:
            stranger.create(**asks("Hello", model, stream=is_stream))
        assert caught.value.code == "invalid_api_key"
    for ask in [stranger.retrieve, stranger.delete, stranger.cancel, stranger.input_items.list]:
        with pytest.raises(openai.AuthenticationError):
            ask("resp_0123456789abcdef0123456789abcdef")
    for ask in [impatient.responses.retrieve, impatient.responses.delete]:
        with pytest.raises(openai.NotFoundError, match="resp_0123"):
            ask("resp_0123456789abcdef0123456789abcdef")


@feature("errors in streams")
def test_errors_in_streams(create, stream, model):
    # Nothing was sent yet, so it can still be the status that it means to the vendor.
    with pytest.raises((openai.RateLimitError, openai.InternalServerError)):
        create(**asks("Hello", model, "error_after=0", stream=True))
    for fault in ["error_after=20", "cut_after=20", "end_after=20"]:
        ask = asks("Hello", model, f"frames=500 pause_ms=0 {fault}")
        events = begun(list(create(**ask, stream=True)))
        assert events[-1].type == "response.failed", fault
        error = events[-1].response.error
        assert error.code and error.message, fault
        assert deltas(events, "output_text").startswith("word1 word2 "), fault
    with pytest.raises(RuntimeError, match="response.completed"), stream(**ask) as streamed:
        streamed.get_final_response()


def cursors(model, **more):
    """A request as Cursor has it: at the wrong path."""
    told = {"role": "system", "content": "You are a coding assistant."}
    said = user([{"type": "input_text", "text": prompt("Use time_in, please")}])
    return {
        "model": model,
        "input": [told, said],
        "user": "x",
        "store": False,
        "stream_options": {"include_usage": True},
        "metadata": {"cursorConversationId": "x"},
        **THINKS,
        "include": SEALED["include"],
        **more,
    }


@pytest.fixture
def chat(impatient):
    """The answers to a body, whole and streamed."""

    def chat(body):
        at = {"cast_to": ChatCompletion}
        whole = impatient.post("/chat/completions", body=body, **at)
        as_stream = {"body": {**body, "stream": True}, "stream": True, "stream_cls": Stream[ChatCompletionChunk]}
        return whole, list(impatient.post("/chat/completions", **as_stream, **at))

    return chat


@feature("Cursor's habit")
def test_cursor(chat, model):
    whole, chunks = chat(cursors(model))
    assert (whole.object, whole.model, whole.choices[0].finish_reason) == ("chat.completion", model, "stop")
    assert 'You said: "Use time_in, please".' in whole.choices[0].message.content
    assert text_of(chunks) == whole.choices[0].message.content
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens > 0


@feature("Cursor's habit", needs="tools")
def test_cursor_with_tools(chat, model):
    body = cursors(model, tools=TOOLS, tool_choice="auto")
    whole, chunks = chat(body)
    (call,) = whole.choices[0].message.tool_calls
    assert (call.type, call.function.name, whole.choices[0].finish_reason) == ("function", "time_in", "tool_calls")
    assert "city" in json.loads(call.function.arguments)
    named = [c.function.name for chunk in chunks if chunk.choices for c in chunk.choices[0].delta.tool_calls or []]
    assert [name for name in named if name] == ["time_in"]
    called = {"type": "function_call", "call_id": call.id, "name": "time_in", "arguments": call.function.arguments}
    output = {"type": "function_call_output", "call_id": call.id, "output": "noon"}
    whole, chunks = chat({**body, "input": [*body["input"], called, output]})
    assert "The tool says: noon" in whole.choices[0].message.content == text_of(chunks)


@feature("compressed requests")
def test_content_encoding(proxy, model):
    body = json.dumps(asks("Hello", model)).encode()
    packed = {"gzip": gzip.compress(body), "zstd": zstandard.compress(body)}
    for encoding, content in packed.items():
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json", "content-encoding": encoding}
        reply = httpx.post(f"{proxy.base_url}/responses", content=content, headers=headers)
        assert reply.status_code == 200 and 'You said: \\"Hello\\".' in reply.text, reply.text


@feature("AzureOpenAI")
def test_azure(proxy, model):
    with AzureOpenAI(azure_endpoint=proxy.root_url, api_key=KEY, api_version="2025-04-01-preview") as azure:
        whole = azure.responses.create(**asks("Hello", model))
        events = checked(list(azure.responses.create(**asks("Hello", model), stream=True)))
        assert deltas(events, "output_text") == whole.output_text
        assert azure.responses.retrieve(whole.id).output_text == whole.output_text


LACKS = [(model, need) for model, row in RESPONSES.items() for need in row.get("lacks", {}) if need in LEAST]


@feature("refused")
@pytest.mark.parametrize("model, ability", LACKS)
def test_refused(create, model, ability):
    """What a vendor does not have is refused by name, and nothing silently left out."""
    for is_stream in [False, True]:
        with pytest.raises(openai.BadRequestError) as caught:
            create(**asks("Hello", model, **LEAST[ability], stream=is_stream))
        assert RESPONSES[model]["lacks"][ability] in caught.value.message
