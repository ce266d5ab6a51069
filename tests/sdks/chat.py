"""The official client of OpenAI over Chat Completions and the list of models, unchanged."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import openai

from shared import KEY, URL, WEATHER, accepted, once, refused, same

client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
TOOLS = [
    {
        "type": "function",
        "function": {"name": WEATHER["name"], "description": WEATHER["description"], "parameters": WEATHER["schema"]},
    }
]


def user(text):
    return [{"role": "user", "content": text}]


def ask(text, **more):
    return client.chat.completions.create(model="helper", messages=user(text), **more)


def whole():
    answer = ask("echo: Grüße 👩‍🚀")
    same(answer.object, "chat.completion")
    same(answer.model, "helper")
    same(answer.choices[0].message.content, "Grüße 👩‍🚀")
    same(answer.choices[0].message.role, "assistant")
    same(answer.choices[0].finish_reason, "stop")
    same((answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens), (11, 7, 18))
    assert answer.id.startswith("chatcmpl-") and answer._request_id.startswith("req_")
    same(ask("words", max_tokens=3).choices[0].finish_reason, "length")
    same(ask("words", max_completion_tokens=3).choices[0].message.content, "word word word ")
    parts = [{"type": "text", "text": "echo: "}, {"type": "text", "text": "parts"}]
    same(client.chat.completions.create(model="helper", messages=user(parts)).choices[0].message.content, "parts")


def streamed():
    chunks = list(ask("count 6 every 20", stream=True, stream_options={"include_usage": True}))
    same(chunks[0].choices[0].delta.role, "assistant")
    texts = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    same("".join(texts), "1 2 3 4 5 6 ")
    assert len(texts) > 2, f"it came in one piece: {texts}"
    same([c.choices[0].finish_reason for c in chunks if c.choices][-1], "stop")
    same((chunks[-1].choices, chunks[-1].usage.total_tokens), ([], 18))
    same(len({c.id for c in chunks}), 1)
    assert all(c.usage is None for c in ask("echo: x", stream=True))
    with client.chat.completions.stream(model="helper", messages=user("echo: helper")) as stream:
        same(stream.get_final_completion().choices[0].message.content, "helper")


def tools():
    messages = user("weather in Paris")
    answer = client.chat.completions.create(model="helper", messages=messages, tools=TOOLS)
    choice = answer.choices[0]
    same((choice.finish_reason, choice.message.content), ("tool_calls", "Let me look. "))
    made = choice.message.tool_calls[0]
    same((made.function.name, json.loads(made.function.arguments)), ("getWeather", {"city": "Paris"}))
    messages += [choice.message, {"role": "tool", "tool_call_id": made.id, "content": "22°"}]
    answer = client.chat.completions.create(model="helper", messages=messages, tools=TOOLS)
    same((answer.choices[0].message.content, answer.choices[0].finish_reason), ("It is 22° in Paris.", "stop"))
    # As a stream, two at once, with their results in another order.
    with client.chat.completions.stream(model="helper", messages=user("twice"), tools=TOOLS) as stream:
        message = stream.get_final_completion().choices[0].message
    same([json.loads(c.function.arguments)["city"] for c in message.tool_calls], ["Oslo", "Rome"])
    results = [{"role": "tool", "tool_call_id": c.id, "content": c.id} for c in reversed(message.tool_calls)]
    said = {"role": "assistant", "tool_calls": [c.to_dict() for c in message.tool_calls]}
    for call in said["tool_calls"]:
        call["function"].pop("parsed_arguments", None)
        call.pop("index", None)
    answer = client.chat.completions.create(model="helper", messages=[*user("twice"), said, *results], tools=TOOLS)
    same(answer.choices[0].message.content, " and ".join(c.id for c in message.tool_calls))
    # The agent's own skills are used beside them, and never in the same turn.
    answer = client.chat.completions.create(model="lister", messages=user("look and ask"), tools=TOOLS)
    same(answer.choices[0].message.content, "I look.\n\nNow I ask.")
    same([c.function.name for c in answer.choices[0].message.tool_calls], ["getWeather"])
    # Turns with own skills count.
    same(answer.usage.total_tokens, 36)


def passed_on():
    options = {"temperature": 0.25, "top_p": 0.5, "stop": ["END"], "parallel_tool_calls": False}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "second"},
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": "reflect"},
    ]
    choice = {"type": "function", "function": {"name": "getWeather"}}
    answer = client.chat.completions.create(
        model="helper", messages=messages, tools=TOOLS, tool_choice=choice, seed=1, user="u", **options
    )
    sent = json.loads(answer.choices[0].message.content)
    for name, value in options.items():
        same(sent[name], [*value] if name == "stop" else value, name)
    same(sent["tool_choice"], choice)
    system = sent["messages"][0]
    assert system["role"] == "system" and system["content"].endswith("Be brief.\n\nBe kind."), system
    assert "helper" in system["content"], "the agent's own prompt comes first"
    same([(m["role"], m["content"]) for m in sent["messages"][1:]],
         [("user", "first"), ("assistant", "second"), ("user", "reflect")])
    same([tool["function"]["name"] for tool in sent["tools"]], ["getWeather"])
    # A model by its own name has neither prompt nor skills of an agent.
    answer = client.chat.completions.create(model="scripted", messages=user("reflect"))
    sent = json.loads(answer.choices[0].message.content)
    same((sent["messages"], sent.get("tools")), (user("reflect"), None))


def formats():
    schema = {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"]}
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    same(json.loads(ask("json", response_format=form).choices[0].message.content), {"answer": 42})
    texts = [c.choices[0].delta.content or "" for c in ask("json", response_format=form, stream=True)]
    same(json.loads("".join(texts)), {"answer": 42})


def errors():
    bad = openai.BadRequestError
    wrong_key = openai.OpenAI(base_url=f"{URL}/v1", api_key="sk-wrong", max_retries=0)
    act = lambda: wrong_key.chat.completions.create(model="helper", messages=user("x"))
    refused(openai.AuthenticationError, act, 401, code="invalid_api_key")
    act = lambda: client.chat.completions.create(model="nobody", messages=user("x"))
    refused(openai.NotFoundError, act, 404, code="model_not_found", param="model", type="invalid_request_error")
    refused(bad, lambda: ask("x", n=2), 400, param="n", code="unsupported_parameter")
    refused(bad, lambda: ask("x", logprobs=True), 400, param="logprobs")
    refused(bad, lambda: ask("x", extra_body={"tempreature": 1}), 400, param="tempreature")
    refused(bad, lambda: ask("x", temperature=3), 400, param="temperature")
    refused(bad, lambda: ask("x", tool_choice="perhaps"), 400, param="tool_choice")
    picture = [{"type": "image_url", "image_url": {"url": "data:,"}}]
    act = lambda: client.chat.completions.create(model="helper", messages=user(picture))
    refused(bad, act, 400, param="messages[0].content[0].type")
    act = lambda: client.chat.completions.create(model="helper", messages=[{"role": "assistant", "content": "x"}])
    refused(bad, act, 400, param="messages")
    dangling = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    history = [*user("x"), {"role": "assistant", "tool_calls": [dangling]}, *user("y")]
    act = lambda: client.chat.completions.create(model="helper", messages=history)
    refused(bad, act, 400, param="messages")
    act = lambda: client.chat.completions.create(model="helper", messages=user("x" * 1_200_000))
    refused(openai.APIStatusError, act, 413, code="body_too_large")
    refused(openai.NotFoundError, lambda: client.models.retrieve("nobody"), 404, code="model_not_found")
    # A run that fails is an error, as a whole and as a stream, and the client does not send it again by itself.
    patient = client.with_options(max_retries=2)
    for stream in (False, True):
        act = lambda: patient.chat.completions.create(model="helper", messages=user("fail"), stream=stream)
        accepted(once(get, lambda: refused(openai.InternalServerError, act, 503, code="no_answer")))
    # A wait that is too long names the run, which goes on.
    act = lambda: patient.chat.completions.create(model="helper", messages=user("count 50 every 100"))
    error = once(get, lambda: refused(openai.APIStatusError, act, 408, code="answer_not_ready"))
    accepted(error)
    run = client.get(error.body["openclaw"]["run"].removeprefix("/v1"), cast_to=object)
    same(run["status"], "active")


def get(path):
    return client.get(path, cast_to=object)


def models():
    listed = list(client.models.list())
    names = [model.id for model in listed]
    for name in ("helper", "lister", "scripted", "offline"):
        assert name in names, names
    same(client.models.retrieve("helper").id, "helper")


async def concurrently():
    async with openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0) as many:

        async def one(number):
            stream = await many.chat.completions.create(
                model="helper", messages=user(f"echo: {number}"), stream=number % 2 == 0
            )
            if number % 2:
                return stream.choices[0].message.content
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        same(await asyncio.gather(*map(one, range(20))), [str(number) for number in range(20)])


def idempotent():
    headers = {"Idempotency-Key": "chat-one"}
    with ThreadPoolExecutor() as pool:
        answers = [pool.submit(ask, "echo: once", extra_headers=headers) for _ in range(4)]
    same(len({answer.result().id for answer in answers}), 1)


for check in (whole, streamed, tools, passed_on, formats, errors, models, idempotent):
    check()
asyncio.run(concurrently())
print("all good", openai.__version__)
