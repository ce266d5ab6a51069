"""The official client of Anthropic, unchanged."""

import asyncio
import json

import anthropic

from shared import KEY, URL, WEATHER, accepted, once, refused, same

client = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0)
TOOLS = [{"name": WEATHER["name"], "description": WEATHER["description"], "input_schema": WEATHER["schema"]}]


def user(text):
    return [{"role": "user", "content": text}]


def ask(text, **more):
    return client.messages.create(**{"model": "helper", "max_tokens": 500, "messages": user(text), **more})


def whole():
    answer = ask("echo: Grüße 👩‍🚀")
    same((answer.type, answer.role, answer.model, answer.stop_reason), ("message", "assistant", "helper", "end_turn"))
    same([(block.type, block.text) for block in answer.content], [("text", "Grüße 👩‍🚀")])
    same((answer.usage.input_tokens, answer.usage.output_tokens), (11, 7))
    assert answer.id.startswith("msg_") and answer._request_id.startswith("req_")
    same(ask("words", max_tokens=3).stop_reason, "max_tokens")
    same(ask("", messages=user([{"type": "text", "text": "echo: block"}])).content[0].text, "block")


def streamed():
    with client.messages.stream(model="helper", max_tokens=500, messages=user("count 6 every 20")) as stream:
        texts = list(stream.text_stream)
        same("".join(texts), "1 2 3 4 5 6 ")
        assert len(texts) > 2, f"it came in one piece: {texts}"
        final = stream.get_final_message()
    same((final.stop_reason, final.usage.output_tokens), ("end_turn", 7))
    kinds = [event.type for event in ask("echo: x", stream=True)]
    same((kinds[0], kinds[-2:]), ("message_start", ["message_delta", "message_stop"]))


def tools():
    messages = user("weather in Paris")
    answer = ask("", messages=messages, tools=TOOLS)
    same((answer.stop_reason, [block.type for block in answer.content]), ("tool_use", ["text", "tool_use"]))
    made = answer.content[1]
    same((made.name, made.input), ("getWeather", {"city": "Paris"}))
    result = {"type": "tool_result", "tool_use_id": made.id, "content": [{"type": "text", "text": "22°"}]}
    messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    answer = ask("", messages=messages, tools=TOOLS)
    same((answer.content[0].text, answer.stop_reason), ("It is 22° in Paris.", "end_turn"))
    with client.messages.stream(model="helper", max_tokens=500, messages=user("twice"), tools=TOOLS) as stream:
        message = stream.get_final_message()
    same([block.input["city"] for block in message.content], ["Oslo", "Rome"])
    results = [{"type": "tool_result", "tool_use_id": b.id, "content": b.id} for b in reversed(message.content)]
    history = [*user("twice"), {"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
    same(ask("", messages=history, tools=TOOLS).content[0].text, " and ".join(b.id for b in message.content))
    answer = ask("look and ask", model="lister", tools=TOOLS)
    same([getattr(block, "text", None) for block in answer.content], ["I look.", "Now I ask.", None])
    same(answer.usage.output_tokens, 14)


def passed_on():
    system = [{"type": "text", "text": "Be brief."}]
    choice = {"type": "tool", "name": "getWeather", "disable_parallel_tool_use": True}
    answer = ask("reflect", system=system, tools=TOOLS, tool_choice=choice, stop_sequences=["END"],
                 extra_body={"temperature": 0.25})
    sent = json.loads(answer.content[0].text)
    same((sent["temperature"], sent["stop"], sent["parallel_tool_calls"]), (0.25, ["END"], False))
    same(sent["tool_choice"]["function"]["name"], "getWeather")
    assert sent["messages"][0]["content"].endswith("Be brief."), sent["messages"][0]
    same(json.loads(ask("reflect", model="scripted").content[0].text)["messages"], user("reflect"))


def counted():
    few = client.messages.count_tokens(model="helper", messages=user("hello")).input_tokens
    many = client.messages.count_tokens(model="helper", messages=user("hello " * 100)).input_tokens
    with_tools = client.messages.count_tokens(model="helper", messages=user("hello"), tools=TOOLS).input_tokens
    assert few < many and few < with_tools, (few, many, with_tools)


def errors():
    bad = anthropic.BadRequestError
    wrong_key = anthropic.Anthropic(base_url=URL, api_key="sk-wrong", max_retries=0)
    act = lambda: wrong_key.messages.create(model="helper", max_tokens=5, messages=user("x"))
    error = refused(anthropic.AuthenticationError, act, 401)
    same((error.body["type"], error.body["error"]["type"]), ("error", "authentication_error"))
    error = refused(anthropic.NotFoundError, lambda: ask("x", model="nobody"), 404)
    same(error.body["error"]["type"], "not_found_error")

    def about(error, place):
        same(error.body["error"]["type"], "invalid_request_error")
        message = error.body["error"]["message"]
        assert message.startswith(place + ": "), message

    about(refused(bad, lambda: ask("x", extra_body={"top_k": 5}), 400), "top_k")
    about(refused(bad, lambda: ask("x", extra_body={"unheard": 5}), 400), "unheard")
    about(refused(bad, lambda: ask("x", max_tokens=0), 400), "max_tokens")
    about(refused(bad, lambda: ask("x", messages=[{"role": "assistant", "content": "x"}]), 400), "messages")
    about(refused(bad, lambda: ask("x", messages=[*user("x"), {"role": "assistant", "content": "so"}]), 400), "messages")
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}
    about(refused(bad, lambda: ask("x", messages=user([picture])), 400), "messages.0.content.0.type")
    search = {"type": "web_search_20250305", "name": "web_search"}
    about(refused(bad, lambda: ask("x", tools=[search]), 400), "tools.0.type")
    error = refused(anthropic.APIStatusError, lambda: ask("x" * 1_200_000), 413)
    same(error.body["error"]["type"], "request_too_large")
    patient = client.with_options(max_retries=2)
    for stream in (False, True):
        act = lambda: patient.messages.create(model="helper", max_tokens=5, messages=user("fail"), stream=stream)
        accepted(once(get, lambda: refused(anthropic.APIStatusError, act, 529)))
    act = lambda: patient.messages.create(model="helper", max_tokens=5, messages=user("count 50 every 100"))
    error = once(get, lambda: refused(anthropic.APIStatusError, act, 408))
    same(error.body["error"]["type"], "timeout_error")
    accepted(error)


def get(path):
    return client.get(f"/v1{path}", cast_to=object)


def other_header():
    bearer = anthropic.Anthropic(base_url=URL, auth_token=KEY, max_retries=0)
    same(bearer.messages.create(model="helper", max_tokens=9, messages=user("echo: b")).content[0].text, "b")


def models():
    names = [model.id for model in client.models.list(limit=2)]
    for name in ("helper", "lister", "scripted", "offline"):
        assert name in names, f"over pages: {names}"
    same(client.models.retrieve("helper").id, "helper")
    refused(anthropic.NotFoundError, lambda: client.models.retrieve("nobody"), 404)


async def concurrently():
    async with anthropic.AsyncAnthropic(base_url=URL, api_key=KEY, max_retries=0) as many:

        async def one(number):
            arguments = {"model": "helper", "max_tokens": 50, "messages": user(f"echo: {number}")}
            if number % 2:
                return (await many.messages.create(**arguments)).content[0].text
            async with many.messages.stream(**arguments) as stream:
                return "".join([text async for text in stream.text_stream])

        same(await asyncio.gather(*map(one, range(20))), [str(number) for number in range(20)])


for check in (whole, streamed, tools, passed_on, counted, errors, other_header, models):
    check()
asyncio.run(concurrently())
print("all good", anthropic.__version__)
