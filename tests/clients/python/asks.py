"""Requests as people write them, and what is read from the answers. asks.mjs is the same for Node."""

import base64
from typing import Literal

from pydantic import BaseModel

KEY = "sk-demo"
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "YPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
PDF = "data:application/pdf;base64," + base64.b64encode(
    b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
).decode()
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


class Line(BaseModel):
    name: str
    price: float


class Invoice(BaseModel):
    number: str
    currency: Literal["EUR", "USD"]
    lines: list[Line]
    note: str | None
    paid: bool


def prompt(text, fault=""):
    """The text with a marker for the demo, which hurries unless told otherwise."""
    return f"{text} [[demo {fault or 'pause_ms=0'}]]"


def says(text, model, fault="", parts=(), **more):
    """Some models take neither of the two settings as they are; the proxy has to know."""
    content = prompt(text, fault)
    if parts:
        content = [{"type": "text", "text": content}, *parts]
    settings = {"max_tokens": 4000, "temperature": 0.2}
    return {"model": model, "messages": [{"role": "user", "content": content}], **settings, **more}


def text_of(chunks):
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def reasoning_of(message):
    """Of a message or a delta. The SDK has no name for it, and hands it through."""
    return (message.model_extra or {}).get("reasoning_content") or ""


def called(message):
    return [call.function.name for call in message.tool_calls or []]


def turn(message):
    """What a client keeps of an answer that knows OpenAI's own fields only."""
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.function.name, "arguments": call.function.arguments},
        }
        for call in message.tool_calls
    ]
    return {"role": "assistant", "content": message.content, "tool_calls": calls}


def result(call, content):
    return {"role": "tool", "tool_call_id": call.id, "content": content}
