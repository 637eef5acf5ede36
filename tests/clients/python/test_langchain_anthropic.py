"""What LangChain's model for Anthropic, and an agent with it, can do with every family."""

import anthropic
import pytest
from asks import KEY, PIXEL, Invoice, prompt
from conftest import CHAT
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from messages_asks import THINKS
from test_langchain import FEW, TOOLS, names

TABLE, SDK = "messages", "LangChain"
MODELS = CHAT
feature = pytest.mark.feature
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")


@pytest.fixture
def chat(proxy, model):
    def chat(**more):
        at = {"base_url": proxy.root_url, "api_key": KEY, "max_retries": 0, "max_tokens": 4000}
        return ChatAnthropic(model=model, **{**at, **more})

    return chat


@feature("chat")
def test_chat(chat):
    messages = [SystemMessage("Be brief."), HumanMessage("One"), AIMessage("Two")]
    reply = chat().invoke([*messages, HumanMessage(prompt("Hello there"))])
    assert 'You said: "Hello there".' in reply.text
    assert reply.response_metadata["stop_reason"] == "end_turn"


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
    whole = None
    for chunk in chat().stream(prompt("Count me")):
        whole = chunk if whole is None else whole + chunk
    # It reads the last event only, where Claude 4.5 on Bedrock does not repeat what went in.
    assert whole.usage_metadata["output_tokens"] == usage["output_tokens"]


@feature("count_tokens")
def test_count_tokens(chat):
    assert 0 < chat().get_num_tokens_from_messages([HumanMessage("Hello")]) < 200


def agent_says(model):
    """An agent's last words, the same when streamed, and once more with all that was said."""
    agent = create_agent(model, TOOLS, system_prompt="You are a weatherman.")
    ask = {"messages": [HumanMessage(prompt("Use weather_of and time_in"))]}
    messages = agent.invoke(ask, FEW)["messages"]
    asked = [name for m in messages if isinstance(m, AIMessage) for name in names(m)]
    text = ""
    for message, _ in agent.stream(ask, FEW, stream_mode="messages"):
        text += message.text if isinstance(message, AIMessage) else ""
    assert text.endswith(messages[-1].text)
    more = {"messages": [*messages, HumanMessage(prompt("Now time_in"))]}
    assert "The tool says: noon" in agent.invoke(more, FEW)["messages"][-1].text
    return asked, messages[-1].text


@feature("tool loop", needs="tools")
def test_agent(chat):
    asked, said = agent_says(chat())
    assert asked == ["weather_of", "time_in"] and "The tool says: sunny · noon" in said


@feature("thinking + tools", needs="tools")
def test_thinking_agent(chat):
    asked, said = agent_says(chat(**THINKS))
    assert asked == ["weather_of", "time_in"] and "The tool says: sunny · noon" in said


@feature("tool choice", needs="tools")
def test_tool_choice(chat):
    for choice, expected in [("any", "weather_of"), ("time_in", "time_in"), ("auto", None)]:
        bound = chat().bind_tools(TOOLS, tool_choice=choice)
        assert names(bound.invoke(prompt("Hello"))) == ([expected] if expected else [])


@feature("vision", needs="vision")
def test_vision(chat):
    text = {"type": "text", "text": prompt("What is this?")}
    image = {"type": "image", "base64": PIXEL.partition(",")[2], "mime_type": "image/png"}
    assert "I see 1 image." in chat().invoke([HumanMessage([text, image])]).text


@feature("json_schema")
def test_json_schema(chat):
    asking = chat().with_structured_output(Invoice, method="json_schema")
    assert isinstance(asking.invoke(prompt("An invoice, please")), Invoice)


@feature("json_schema", needs="tools")
def test_function_calling(chat):
    asking = chat().with_structured_output(Invoice, method="function_calling")
    assert isinstance(asking.invoke(prompt("An invoice, please")), Invoice)


@feature("errors")
def test_errors(chat):
    faults = [
        ("status=400", anthropic.BadRequestError),
        ("status=429", anthropic.RateLimitError),
        ("status=500", anthropic.InternalServerError),
    ]
    for fault, kind in faults:
        with pytest.raises(kind):
            chat().invoke(prompt("Hello", fault))
        with pytest.raises(kind):
            list(chat().stream(prompt("Hello", fault)))


@feature("errors in streams")
def test_errors_in_streams(chat):
    for fault in ["error_after=40", "end_after=40"]:
        with pytest.raises(anthropic.APIError):
            list(chat().stream(prompt("Hello", f"frames=500 pause_ms=1 {fault}")))
