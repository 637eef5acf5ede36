"""Requests to the Responses API as people write them, and what is read from the answers. responses_asks.mjs is the same for
Node."""

from asks import PDF, PIXEL, prompt
from asks import TOOLS as CHAT_TOOLS
from conftest import RESPONSES

IMAGE = {"type": "input_image", "image_url": PIXEL, "detail": "auto"}
DOCUMENT = {"type": "input_file", "filename": "paper.pdf", "file_data": PDF}
TOOLS = [{"type": "function", **tool["function"], "strict": False} for tool in CHAT_TOOLS]
PATCH = {"type": "custom", "name": "apply_patch", "description": "Changes files"}
PATCH_BY_GRAMMAR = {
    **PATCH,
    "format": {
        "type": "grammar",
        "syntax": "lark",
        "definition": 'start: "*** Begin Patch" LF /(.|\\n)+/ "*** End Patch" LF?\n%import common.LF\n',
    },
}
SEARCH = {"type": "web_search", "search_context_size": "low"}
THINKS = {"reasoning": {"effort": "low", "summary": "auto"}}
SEALED = {"include": ["reasoning.encrypted_content"], "store": False}
MENDED = '*** Begin Patch\n*** Update File: "a b".rs\n@@\n-\told \\n\n+\tnëw 👋 \\u00e9 \u2028\n*** End Patch\n'
ENDS = ["response.completed", "response.incomplete", "response.failed"]

# What comes between an item's `added` and its `done`: of each part of it, or of the whole item.
STEPS = {
    "message": ["content_part.added", "output_text.delta", "output_text.done", "content_part.done"],
    "reasoning": [
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
    ],
    "function_call": ["function_call_arguments.delta", "function_call_arguments.done"],
    "custom_tool_call": ["custom_tool_call_input.delta", "custom_tool_call_input.done"],
}
# What an item's id begins with.
IDS = {"message": "msg_", "reasoning": "rs_", "function_call": "fc_", "custom_tool_call": "ctc_"}


def asks(words, model, fault="", parts=(), **more):
    content = prompt(words, fault)
    if parts:
        content = [user([{"type": "input_text", "text": content}, *parts])]
    return {"model": model, "input": content, **more}


def user(content):
    return {"role": "user", "content": content}


def result(call, output):
    """Of a function or a custom tool."""
    return {"type": f"{call.type}_output", "call_id": call.call_id, "output": output}


def items_of(response, kind):
    return [item for item in response.output if item.type == kind]


def calls_of(response):
    return items_of(response, "function_call")


def called(response):
    return [call.name for call in calls_of(response)]


def thought_of(response):
    parts = [part for item in items_of(response, "reasoning") for part in item.summary]
    return "".join(part.text for part in parts)


def bare(response):
    """What a client keeps that knows texts and calls only."""
    texts = [{"role": "assistant", "content": response.output_text}] if response.output_text else []
    keys = ["type", "call_id", "name", "arguments"]
    return [*texts, *({key: getattr(call, key) for key in keys} for call in calls_of(response))]


def is_passed(model):
    """AI Core has the API itself."""
    return model.startswith("gpt-5")


def reasons(model):
    """A summary of its thoughts can be had."""
    return is_passed(model) or RESPONSES[model].get("reasons") == "shown"


def texts_of(item):
    """The texts of an item's parts, or its one text."""
    if item.type == "message":
        return [part.text for part in item.content]
    if item.type == "reasoning":
        return [part.text for part in item.summary]
    return [item.arguments if item.type == "function_call" else item.input]


def deltas(events, kind):
    return "".join(event.delta for event in events if event.type == f"response.{kind}.delta")


def checked(events):
    """The events of a stream, which have to be in order."""
    begun(events)
    items, item, steps, texts = [], None, {}, {}
    for event in events[2:-1]:
        step = event.type.removeprefix("response.")
        assert event.output_index == len(items), event
        if step == "output_item.added":
            assert item is None and not any(texts_of(event.item)), event
            item, steps, texts = event.item, {}, {}
            assert item.id.startswith(IDS[item.type])
        elif step == "output_item.done":
            assert (event.item.id, event.item.type) == (item.id, item.type)
            assert list(texts) == list(range(len(texts)))
            assert texts_of(event.item) == list(texts.values())
            for index, had in steps.items():
                wanted = [s for s in STEPS[item.type] if texts[index] or not s.endswith(".delta")]
                assert had == wanted, (item.type, had)
            items, item = [*items, event.item], None
        else:
            assert event.item_id == item.id, event
            index = getattr(event, "content_index", getattr(event, "summary_index", 0))
            had, text = steps.setdefault(index, []), texts.setdefault(index, "")
            if had[-1:] != [step]:
                had.append(step)
            if step.endswith(".delta"):
                texts[index] += event.delta
            else:
                said = getattr(event, "part", event)
                told = [getattr(said, name, None) for name in ["text", "arguments", "input"]]
                assert [value for value in told if value is not None] == [text], event
    assert item is None
    last = events[-1].response
    assert [item.to_dict() for item in items] == [item.to_dict() for item in last.output]
    return events


def begun(events):
    """Events up to one end, whatever it is and whatever was open then."""
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] in ENDS and sum(kind in ENDS for kind in kinds) == 1, kinds
    numbers = [event.sequence_number for event in events]
    assert numbers[0] == 0 and numbers == sorted(set(numbers)), numbers
    first, last = events[0].response, events[-1].response
    assert (first.status, first.output, first.usage) == ("in_progress", [], None)
    assert last.status == kinds[-1].removeprefix("response.")
    assert {event.response.id for event in [*events[:2], events[-1]]} == {first.id}
    return events
