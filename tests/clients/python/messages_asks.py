"""Requests to the Messages API as people write them, and what is read from the answers. messages_asks.mjs is the same for
Node."""

import base64
import json

from asks import PDF, PIXEL, prompt

IMAGE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": PIXEL.partition(",")[2]},
}
DOCUMENT = {
    "type": "document",
    "title": "A paper",
    "source": {"type": "base64", "media_type": "application/pdf", "data": PDF.partition(",")[2]},
}
NOTE = {
    "type": "document",
    "title": "A note",
    "source": {"type": "text", "media_type": "text/plain", "data": "The sky is green."},
}
TOOLS = [
    {
        "name": name,
        "description": f"Tells the {what} of a city",
        "input_schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    }
    for name, what in [("weather_of", "weather"), ("time_in", "time")]
]
THINKS = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
ADAPTS = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}


def asks(text, model, fault="", parts=(), **more):
    content = prompt(text, fault)
    if parts:
        content = [*parts, {"type": "text", "text": content}]
    return {"model": model, "max_tokens": 4000, "messages": [user(content)], **more}


def user(content):
    return {"role": "user", "content": content}


def turn(message):
    """An answer as it goes back, with all its blocks."""
    return {"role": "assistant", "content": message.content}


def bare_turn(message):
    """What a client keeps that knows texts and calls only."""
    texts = [{"type": "text", "text": b.text} for b in message.content if b.type == "text"]
    calls = [
        {"type": "tool_use", "id": b.id, "name": b.name, "input": b.input} for b in calls_of(message)
    ]
    return {"role": "assistant", "content": [*texts, *calls]}


def result(call, content, **more):
    return {"type": "tool_result", "tool_use_id": call.id, "content": content, **more}


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def thought_of(message):
    return "".join(block.thinking for block in message.content if block.type == "thinking")


def calls_of(message):
    return [block for block in message.content if block.type == "tool_use"]


def called(message):
    return [call.name for call in calls_of(message)]


def script(*turns):
    """What the demo's model is to call, turn by turn: each a list of names and inputs."""

    def word(name, arguments):
        packed = base64.urlsafe_b64encode(json.dumps(arguments).encode()).decode()
        return f"{name}:{packed.rstrip('=')}"

    words = [",".join(word(*call) for call in calls) for calls in turns]
    return " ".join(["pause_ms=0", *(f"call={word}" for word in words)])
