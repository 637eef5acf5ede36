"""What LangChain's model for OpenAI, and an agent with it, can do with every family."""

import openai
import pytest
from asks import KEY, PIXEL, Invoice, prompt
from conftest import CHAT, FAMILIES
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

TABLE, SDK = "families", "LangChain"
MODELS = CHAT
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


@pytest.fixture
def chat(proxy, model):
    def chat(**more):
        at = {"base_url": proxy.base_url, "api_key": KEY, "max_retries": 0}
        return ChatOpenAI(model=model, use_responses_api=False, **at, **more)

    return chat


def names(message):
    return [call["name"] for call in message.tool_calls]


@feature("chat")
def test_chat(chat, model):
    reply = chat(temperature=0.2).invoke(prompt("Hello there"))
    assert 'You said: "Hello there".' in reply.content
    assert reply.response_metadata["finish_reason"] == "stop"
    assert reply.response_metadata["model_name"] == model


@feature("history")
def test_history(chat):
    messages = [SystemMessage("Be brief."), HumanMessage("One"), AIMessage("Two")]
    assert "Three" in chat().invoke([*messages, HumanMessage(prompt("Three"))]).content


@feature("stream")
def test_stream(chat):
    whole = chat().invoke(prompt("Hello")).content
    chunks = list(chat().stream(prompt("Hello")))
    assert "".join(chunk.content for chunk in chunks) == whole
    assert sum(bool(chunk.content) for chunk in chunks) > 1
    assert not any(chunk.usage_metadata for chunk in chunks)


@feature("usage")
def test_usage(chat):
    usage = chat().invoke(prompt("Count me")).usage_metadata
    assert usage["input_tokens"] > 0 and usage["output_tokens"] > 0
    whole = None
    for chunk in chat(stream_usage=True).stream(prompt("Count me")):
        whole = chunk if whole is None else whole + chunk
    assert whole.usage_metadata == usage


@feature("tools", needs="tools")
def test_tools(chat):
    bound = chat().bind_tools(TOOLS)
    assert names(bound.invoke(prompt("Please use weather_of"))) == ["weather_of"]
    assert names(bound.invoke(prompt("Hello"))) == []


@feature("parallel", needs="tools")
def test_parallel(chat):
    whole = None
    for chunk in chat().bind_tools(TOOLS).stream(prompt("Use weather_of and time_in")):
        whole = chunk if whole is None else whole + chunk
    assert names(whole) == ["weather_of", "time_in"]
    assert all("city" in call["args"] for call in whole.tool_calls)


def agent_says(model):
    """An agent's last words, and the names of the tools that it called; the same when streamed."""
    agent = create_agent(model, TOOLS, system_prompt="You are a weatherman.")
    ask = {"messages": [HumanMessage(prompt("Use weather_of and time_in"))]}
    messages = agent.invoke(ask, FEW)["messages"]
    asked = [name for m in messages if isinstance(m, AIMessage) for name in names(m)]
    text = ""
    for message, _ in agent.stream(ask, FEW, stream_mode="messages"):
        text += message.content if not isinstance(message, ToolMessage) else ""
    assert text.endswith(messages[-1].content)
    more = {"messages": [*messages, HumanMessage(prompt("Now time_in"))]}
    again = agent.invoke(more, FEW)["messages"]
    assert "The tool says: noon" in again[-1].content
    return asked, messages[-1].content


@feature("tool loop", needs="tools")
def test_agent(chat):
    asked, said = agent_says(chat())
    assert asked == ["weather_of", "time_in"] and "The tool says: sunny · noon" in said


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
        assert "I see 1 image." in chat().invoke([HumanMessage([text, image])]).content


@feature("json_schema", needs="json_schema")
def test_json_schema(chat):
    asking = chat().with_structured_output(Invoice, method="json_schema")
    assert isinstance(asking.invoke(prompt("An invoice, please")), Invoice)
    *_, last = asking.stream(prompt("An invoice, please"))
    assert isinstance(last, Invoice)


@feature("json_schema", needs="tools")
def test_function_calling(chat):
    asking = chat().with_structured_output(Invoice, method="function_calling")
    assert isinstance(asking.invoke(prompt("An invoice, please")), Invoice)


@feature("json_schema", needs="tools")
def test_agent_with_format(chat):
    agent = create_agent(chat(), TOOLS, response_format=ProviderStrategy(Invoice))
    state = agent.invoke({"messages": [HumanMessage(prompt("Use weather_of"))]}, FEW)
    asked = [name for m in state["messages"] if isinstance(m, AIMessage) for name in names(m)]
    assert asked == ["weather_of"] and isinstance(state["structured_response"], Invoice)


@feature("json_object", needs="json_object")
def test_json_object(chat):
    asking = chat().with_structured_output(None, method="json_mode")
    assert isinstance(asking.invoke(prompt("Answer in JSON")), dict)


@feature("reasoning")
def test_reasoning(chat, model):
    reply = chat(reasoning_effort="low", max_tokens=4000).invoke(prompt("Think"))
    assert 'You said: "Think".' in reply.content
    if CHAT[model].get("reasons") == "unseen":
        assert reply.usage_metadata["output_token_details"]["reasoning"] > 0


@feature("reasoning + tools", needs="tools")
def test_reasoning_agent(chat):
    """LangChain keeps no reasoning: what a vendor wants back, the proxy has to know itself."""
    asked, said = agent_says(chat(reasoning_effort="low", max_tokens=4000))
    assert asked == ["weather_of", "time_in"] and "The tool says: sunny · noon" in said


@feature("length")
def test_length(chat):
    reply = chat(max_tokens=16).invoke(prompt("A long tale"))
    assert reply.response_metadata["finish_reason"] == "length"


@feature("stop", needs="stop")
def test_stop(chat):
    assert chat().invoke(prompt("Come HALT go"), stop=["HALT"]).content.strip() == 'You said: "Come'


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
    for fault in ["error_after=40", "end_after=40"]:
        with pytest.raises(openai.APIError):
            list(chat().stream(prompt("Hello", f"frames=500 pause_ms=1 {fault}")))


@feature("list", table="embeddings")
@pytest.mark.parametrize("model", FAMILIES["embeddings"])
def test_embeddings(proxy, model):
    at = {"base_url": proxy.base_url, "api_key": KEY, "max_retries": 0}
    embedder = OpenAIEmbeddings(model=model, check_embedding_ctx_length=False, **at)
    size = FAMILIES["embeddings"][model]["size"]
    assert [len(v) for v in embedder.embed_documents(["one", "two"])] == [size, size]
    assert len(embedder.embed_query("one")) == size
