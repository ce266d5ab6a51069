"""The official client of OpenAI over Responses, unchanged.

Without arguments: everything within one life of the daemon. `begin FILE` starts a response in the background, reads a
part of its stream and leaves; `resume FILE` comes back after the daemon was killed and reads the rest.
"""

import asyncio
import json
import sys
import time

import openai

from shared import KEY, URL, WEATHER, accepted, once, refused, same

client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
TOOLS = [{"type": "function", "name": WEATHER["name"], "description": WEATHER["description"],
          "parameters": WEATHER["schema"], "strict": False}]
OVER = ("completed", "failed", "incomplete", "cancelled")


def ask(said, **more):
    return client.responses.create(**{"model": "helper", "input": said, **more})


def until_over(response):
    """Asks until it is over; bounded."""
    deadline = time.monotonic() + 60
    while response.status not in OVER:
        assert time.monotonic() < deadline, f"still {response.status}"
        time.sleep(0.05)
        response = client.responses.retrieve(response.id)
    return response


def text_of(events):
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def whole():
    answer = ask("echo: Grüße 👩‍🚀", metadata={"for": "tests"}, instructions="Be brief.", temperature=0.5)
    same((answer.object, answer.status, answer.model), ("response", "completed", "helper"))
    same(answer.output_text, "Grüße 👩‍🚀")
    same((answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens), (11, 7, 18))
    same((answer.metadata, answer.instructions, answer.temperature), ({"for": "tests"}, "Be brief.", 0.5))
    same((answer.error, answer.incomplete_details, answer.background), (None, None, False))
    assert answer.id.startswith("resp_") and answer._request_id.startswith("req_")
    same(client.responses.retrieve(answer.id).to_dict(), answer.to_dict())
    cut = ask("words", max_output_tokens=3)
    same((cut.status, cut.incomplete_details.reason), ("incomplete", "max_output_tokens"))


def streamed():
    events = list(ask("count 8 every 20", stream=True))
    same([event.sequence_number for event in events], list(range(len(events))))
    same((events[0].type, events[1].type, events[-1].type),
         ("response.created", "response.in_progress", "response.completed"))
    assert sum(event.type == "response.output_text.delta" for event in events) > 2, "it came in one piece"
    same(text_of(events), "1 2 3 4 5 6 7 8 ")
    same(events[-1].response.output_text, "1 2 3 4 5 6 7 8 ")
    same(client.responses.retrieve(events[-1].response.id).to_dict(), events[-1].response.to_dict())
    # Whoever comes back gets what comes after the number, whichever it is.
    for event in events:
        rest = list(client.responses.retrieve(
            events[0].response.id, stream=True, starting_after=event.sequence_number))
        same([e.to_dict() for e in rest], [e.to_dict() for e in events[event.sequence_number + 1:]])
    same(list(client.responses.retrieve(events[0].response.id, stream=True, starting_after=9999)), [])
    again = list(client.responses.retrieve(events[0].response.id, stream=True))
    same([e.to_dict() for e in again], [e.to_dict() for e in events])
    with client.responses.stream(model="helper", input="echo: helper") as stream:
        same(stream.get_final_response().output_text, "helper")


def tools():
    answer = ask("weather in Paris", tools=TOOLS)
    same([item.type for item in answer.output], ["message", "function_call"])
    made = answer.output[1]
    same((made.name, json.loads(made.arguments), answer.output_text),
         ("getWeather", {"city": "Paris"}, "Let me look. "))
    result = [{"type": "function_call_output", "call_id": made.call_id, "output": "22°"}]
    same(ask(result, previous_response_id=answer.id, tools=TOOLS).output_text, "It is 22° in Paris.")
    # The same with the conversation sent along instead of referred to.
    history = [{"role": "user", "content": "weather in Paris"}, *[item.to_dict() for item in answer.output], *result]
    same(ask(history, tools=TOOLS, store=False).output_text, "It is 22° in Paris.")
    events = list(ask("twice", tools=TOOLS, stream=True))
    done = [event for event in events if event.type == "response.function_call_arguments.done"]
    same([json.loads(event.arguments)["city"] for event in done], ["Oslo", "Rome"])
    calls = events[-1].response.output
    results = [{"type": "function_call_output", "call_id": c.call_id, "output": c.call_id} for c in reversed(calls)]
    answer = ask(results, previous_response_id=events[-1].response.id, tools=TOOLS)
    same(answer.output_text, " and ".join(c.call_id for c in calls))
    with client.responses.stream(model="lister", input="look and ask", tools=TOOLS) as stream:
        final = stream.get_final_response()
    same([item.type for item in final.output], ["message", "message", "function_call"])


def chained():
    first = ask("echo: one", instructions="Not for later.")
    second = ask("echo: two", previous_response_id=first.id)
    third = json.loads(ask("reflect", previous_response_id=second.id).output_text)
    same([(m["role"], m["content"]) for m in third["messages"] if m["role"] != "system"],
         [("user", "echo: one"), ("assistant", "one"), ("user", "echo: two"), ("assistant", "two"), ("user", "reflect")])
    assert "Not for later." not in third["messages"][0]["content"], "instructions are not taken over"
    same([item.content[0].text for item in client.responses.input_items.list(second.id)], ["echo: two"])
    counted = client.responses.input_tokens.count(model="helper", input="hello", previous_response_id=second.id)
    assert counted.input_tokens > client.responses.input_tokens.count(model="helper", input="hello").input_tokens


def background():
    answer = ask("count 20 every 20", background=True)
    assert answer.status in ("queued", "in_progress"), answer.status
    over = until_over(answer)
    same((over.status, over.output_text.split()[-1]), ("completed", "20"))
    # A stream of one that goes on joins in, and starts at the beginning.
    answer = ask("count 30 every 30", background=True)
    events = list(client.responses.retrieve(answer.id, stream=True))
    same([event.sequence_number for event in events], list(range(len(events))))
    same([event.type for event in events[:3]], ["response.created", "response.queued", "response.in_progress"])
    same(text_of(events), "".join(f"{n} " for n in range(1, 31)))
    answer = ask("count 1000 every 50", background=True)
    refused(openai.ConflictError, lambda: client.responses.delete(answer.id), 409, code="response_active")
    act = lambda: ask("x", previous_response_id=answer.id)
    refused(openai.ConflictError, act, 409, param="previous_response_id")
    same(client.responses.cancel(answer.id).status, "cancelled")
    same(client.responses.cancel(answer.id).status, "cancelled", "a second time")
    same(client.responses.retrieve(answer.id).status, "cancelled")
    # One that outlives the wait goes on and may be asked for.
    answer = ask("count 50 every 60")
    same(answer.status, "in_progress")
    same(until_over(answer).status, "completed")
    refused(openai.BadRequestError, lambda: client.responses.cancel(answer.id), 400)


def forgotten():
    secret = ask("echo: x", store=False)
    refused(openai.NotFoundError, lambda: client.responses.retrieve(secret.id), 404, code="response_not_found")
    refused(openai.NotFoundError, lambda: ask("x", previous_response_id=secret.id), 404, param="previous_response_id")
    kept = list(ask("echo: x", stream=True))[-1].response
    client.responses.delete(kept.id)
    refused(openai.NotFoundError, lambda: client.responses.retrieve(kept.id), 404, code="response_not_found")
    refused(openai.NotFoundError, lambda: client.responses.delete(kept.id), 404)


def errors():
    bad = openai.BadRequestError
    refused(openai.NotFoundError, lambda: ask("x", model="nobody"), 404, code="model_not_found")
    refused(bad, lambda: ask("x", background=True, store=False), 400, param="background")
    refused(bad, lambda: ask("x", tools=[{"type": "web_search"}]), 400, param="tools[0].type")
    refused(bad, lambda: ask("x", extra_body={"unheard": 1}), 400, param="unheard")
    refused(bad, lambda: ask("x", conversation="conv_1"), 400, param="conversation")
    refused(bad, lambda: ask([{"type": "item_reference", "id": "x"}]), 400, param="input[0].type")
    refused(openai.NotFoundError, lambda: client.responses.retrieve("resp_x"), 404)
    same((ask("fail").status, ask("fail").error.code), ("failed", "server_error"))
    last = list(ask("fail", stream=True))[-1]
    same((last.type, last.response.status), ("response.failed", "failed"))


def accepted_once():
    patient = client.with_options(max_retries=2)
    act = lambda: patient.responses.create(model="helper", input="count 50 every 100", store=False)
    get = lambda path: client.get(path, cast_to=object)
    accepted(once(get, lambda: refused(openai.APIStatusError, act, 408, code="answer_not_ready")))


def formats():
    schema = {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"]}
    form = {"format": {"type": "json_schema", "name": "answer", "schema": schema}}
    same(json.loads(ask("json", text=form).output_text), {"answer": 42})


async def concurrently():
    async with openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0) as many:

        async def one(number):
            answer = await many.responses.create(model="helper", input=f"echo: {number}", stream=number % 2 == 0)
            if number % 2:
                return answer.output_text
            return text_of([event async for event in answer])

        same(await asyncio.gather(*map(one, range(20))), [str(number) for number in range(20)])


def begin(path):
    """Reads until some text came, and leaves the rest."""
    seen = []
    stream = ask("count 40 every 60", background=True, stream=True)
    for event in stream:
        seen.append(event.to_dict())
        if sum(event["type"] == "response.output_text.delta" for event in seen) == 6:
            break
    stream.close()
    with open(path, "w") as file:
        json.dump(seen, file)


def resume(path):
    with open(path) as file:
        seen = json.load(file)
    response = seen[0]["response"]["id"]
    same([e["sequence_number"] for e in seen], list(range(len(seen))))
    # From every number that the first life gave out.
    rests = []
    for event in seen:
        after = event["sequence_number"]
        rest = [e.to_dict() for e in client.responses.retrieve(response, stream=True, starting_after=after)]
        same(rest[:len(seen) - after - 1], seen[after + 1:], f"what was shown before the kill, after {after}")
        rests.append(seen[:after + 1] + rest)
    for events in rests:
        same(events, rests[0], "every way back gives the same")
    events = rests[0]
    same([e["sequence_number"] for e in events], list(range(len(events))))
    text = "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")
    same(text, "".join(f"{n} " for n in range(1, 41)), "no gap and no double")
    same((events[-1]["type"], client.responses.retrieve(response).output_text), ("response.completed", text))


if len(sys.argv) > 1:
    {"begin": begin, "resume": resume}[sys.argv[1]](sys.argv[2])
else:
    for check in (whole, streamed, tools, chained, background, forgotten, errors, accepted_once, formats):
        check()
    asyncio.run(concurrently())
print("all good", openai.__version__)
