"""What LangChain's model for OpenAI, and an agent with it, can do with the Responses API of every family."""

import openai
import pytest
from asks import KEY, PIXEL, Invoice, prompt
from conftest import RESPONSES
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, custom_tool
from messages_asks import script
from responses_asks import MENDED, is_passed, reasons

TABLE, SDK = "responses", "LangChain"
MODELS = RESPONSES
FEW = {"recursion_limit": 9}
feature = pytest.mark.feature
# It puts what was parsed into a message that pydantic then finds strange.
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")


@tool
def weather_of(city: str) -> str:
    """Tells the weather of a city."""
    return "sunny"


@tool
def time_in(city: str) -> str:
    """Tells the time in a city."""
    return "noon"


TOOLS = [weather_of, time_in]
BOTH = ["weather_of", "time_in"]
# Nothing is kept by the server; the second is how it says that.
WAYS = [{}, {"store": False, "include": ["reasoning.encrypted_content"]}, {"use_previous_response_id": True}]
THINKS = {"reasoning": {"effort": "low", "summary": "auto"}}


@pytest.fixture
def chat(proxy, model):
    def chat(**more):
        at = {"base_url": proxy.base_url, "api_key": KEY, "max_retries": 0}
        return ChatOpenAI(model=model, use_responses_api=True, **at, **more)

    return chat


def names(message):
    return [call["name"] for call in message.tool_calls]


def whole_of(chunks):
    whole = None
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    return whole


def thought_of(message):
    blocks = [block for block in message.content_blocks if block["type"] == "reasoning"]
    return "".join(block.get("reasoning", "") for block in blocks)


@feature("create")
def test_create(chat, model):
    reply = chat(temperature=0.2).invoke(prompt("Hello there"))
    assert 'You said: "Hello there".' in reply.text
    assert reply.response_metadata["status"] == "completed"
    assert reply.response_metadata["model_name"] == model


@feature("history")
def test_history(chat):
    messages = [SystemMessage("Be brief."), HumanMessage("One"), AIMessage("Two")]
    reply = chat().invoke([*messages, HumanMessage(prompt("Three"))])
    assert "Three" in reply.text
    again = [*messages, HumanMessage("Three"), reply, HumanMessage(prompt("Four"))]
    for more in WAYS:
        assert "Four" in chat(**more).invoke(again).text


@feature("stream")
def test_stream(chat):
    whole = chat().invoke(prompt("Hello")).text
    chunks = list(chat().stream(prompt("Hello")))
    assert "".join(chunk.text for chunk in chunks) == whole
    assert sum(bool(chunk.text) for chunk in chunks) > 1


@feature("usage")
def test_usage(chat):
    usage = chat().invoke(prompt("Count me")).usage_metadata
    assert usage["input_tokens"] > 0 and usage["output_tokens"] > 0
    assert "reasoning" in usage["output_token_details"] and "cache_read" in usage["input_token_details"]
    streamed = whole_of(chat().stream(prompt("Count me"))).usage_metadata
    assert [streamed[key] for key in streamed if key.endswith("_tokens")] == [
        usage[key] for key in streamed if key.endswith("_tokens")
    ]


@feature("tools", needs="tools")
def test_tools(chat):
    bound = chat().bind_tools(TOOLS)
    assert names(bound.invoke(prompt("Please use weather_of"))) == ["weather_of"]
    assert names(bound.invoke(prompt("Hello"))) == []
    assert names(chat().bind_tools(TOOLS, strict=True).invoke(prompt("time_in"))) == ["time_in"]


@feature("parallel", needs="tools")
def test_parallel(chat):
    whole = whole_of(chat().bind_tools(TOOLS).stream(prompt("Use weather_of and time_in")))
    assert names(whole) == BOTH and all("city" in call["args"] for call in whole.tool_calls)


def agent_says(model):
    """An agent's last words, and the names of the tools that it called; the same when streamed."""
    agent = create_agent(model, TOOLS, system_prompt="You are a weatherman.")
    ask = {"messages": [HumanMessage(prompt("Use weather_of and time_in"))]}
    messages = agent.invoke(ask, FEW)["messages"]
    asked = [name for m in messages if isinstance(m, AIMessage) for name in names(m)]
    text = ""
    for message, _ in agent.stream(ask, FEW, stream_mode="messages"):
        text += message.text if not isinstance(message, ToolMessage) else ""
    assert text.endswith(messages[-1].text)
    more = {"messages": [*messages, HumanMessage(prompt("Now time_in"))]}
    again = agent.invoke(more, FEW)["messages"]
    assert "The tool says: noon" in again[-1].text
    return asked, messages[-1].text


@feature("tool loop", needs="tools")
def test_agent(chat):
    for more in WAYS:
        asked, said = agent_says(chat(**more))
        assert asked == BOTH and "The tool says: sunny · noon" in said


@feature("custom tools", needs="tools")
def test_custom_tools(chat):
    given = []

    @custom_tool
    def apply_patch(text: str) -> str:
        """Changes files."""
        given.append(text)
        return "Done!"

    ask = {"messages": [HumanMessage(prompt("Mend it", script([("apply_patch", {"input": MENDED})])))]}
    for more in WAYS:
        agent = create_agent(chat(**more), [apply_patch, time_in])
        assert "The tool says: Done!" in agent.invoke(ask, FEW)["messages"][-1].text
    assert given == [MENDED] * len(WAYS)


@feature("tool choice", needs="tools")
def test_tool_choice(chat):
    for choice, expected in [("any", "weather_of"), ("time_in", "time_in"), ("auto", None)]:
        bound = chat().bind_tools(TOOLS, tool_choice=choice)
        assert names(bound.invoke(prompt("Hello"))) == ([expected] if expected else [])


@feature("vision", needs="vision")
def test_vision(chat):
    text = {"type": "text", "text": prompt("What is this?")}
    ours = {"type": "image", "base64": PIXEL.partition(",")[2], "mime_type": "image/png"}
    for image in [ours, {"type": "image_url", "image_url": {"url": PIXEL}}]:
        assert "I see 1 image." in chat().invoke([HumanMessage([text, image])]).text


@feature("json_schema")
def test_json_schema(chat):
    asking = chat().with_structured_output(Invoice, method="json_schema")
    assert isinstance(asking.invoke(prompt("An invoice, please")), Invoice)
    *_, last = asking.stream(prompt("An invoice, please"))
    assert isinstance(last, Invoice)


@feature("json_schema", needs="tools")
def test_agent_with_format(chat):
    agent = create_agent(chat(), TOOLS, response_format=ProviderStrategy(Invoice))
    state = agent.invoke({"messages": [HumanMessage(prompt("Use weather_of"))]}, FEW)
    asked = [name for m in state["messages"] if isinstance(m, AIMessage) for name in names(m)]
    assert asked == ["weather_of"] and isinstance(state["structured_response"], Invoice)


@feature("json_object")
def test_json_object(chat):
    asking = chat().with_structured_output(None, method="json_mode")
    assert isinstance(asking.invoke(prompt("Answer in JSON")), dict)


@feature("reasoning")
def test_reasoning(chat, model):
    reply = chat(**THINKS).invoke(prompt("Think"))
    streamed = whole_of(chat(**THINKS).stream(prompt("Think")))
    for each in [reply, streamed]:
        assert 'You said: "Think".' in each.text and bool(thought_of(each)) == reasons(model)
    assert thought_of(streamed) == thought_of(reply)
    assert not is_passed(model) or reply.usage_metadata["output_token_details"]["reasoning"] > 0


@feature("reasoning + tools", needs="tools")
def test_reasoning_agent(chat):
    for more in WAYS:
        asked, said = agent_says(chat(**THINKS, **more))
        assert asked == BOTH and "The tool says: sunny · noon" in said


@feature("length")
def test_length(chat):
    reply = chat(max_tokens=16).invoke(prompt("A long tale"))
    assert reply.response_metadata["incomplete_details"] == {"reason": "max_output_tokens"}


@feature("errors")
def test_errors(chat):
    faults = [
        ("status=400", openai.BadRequestError),
        ("status=429", openai.RateLimitError),
        ("status=500", openai.InternalServerError),
    ]
    for fault, kind in faults:
        with pytest.raises(kind):
            chat().invoke(prompt("Hello", fault))
        with pytest.raises(kind):
            list(chat().stream(prompt("Hello", fault)))


@feature("errors in streams")
def test_errors_in_streams(chat):
    for fault in ["error_after=40", "cut_after=40", "end_after=40"]:
        with pytest.raises(ValueError) as caught:
            list(chat().stream(prompt("Hello", f"frames=500 pause_ms=0 {fault}")))
        assert str(caught.value)
