"""A model on loopback for the tests of the vendors' clients: it speaks Chat Completions and does what it is told.

Prints its port. What it does is said by the last message of the user:
  echo: TEXT          answers TEXT
  count N every MS    answers "1 2 … N", a number every MS milliseconds
  weather in CITY     calls the tool getWeather, then says its result
  twice               calls getWeather two times in one turn, then says both results
  look and ask        calls the agent's own fs.list and getWeather in one turn, then getWeather alone
  words               answers with as many words as it may
  reflect             answers with what it was sent, as JSON
  fail                refuses the request for good
  nothing             answers with an error that passes, each time
"""

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def call(number, name, arguments):
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def decide(body):
    """Pieces of the text, milliseconds between them, calls, and why it stopped."""
    messages = body["messages"]
    asked = [m["content"] for m in messages if m["role"] == "user"][-1]
    results = []
    for message in reversed(messages):
        if message["role"] != "tool":
            break
        results.insert(0, message["content"])
    if asked.startswith("echo: "):
        return [asked[6:]], 0, [], "stop"
    if asked.startswith("count "):
        _, count, _, every = asked.split()
        return [f"{n} " for n in range(1, int(count) + 1)], int(every), [], "stop"
    if asked.startswith("weather in "):
        city = asked[11:]
        if results:
            return ["It is ", results[0], f" in {city}."], 0, [], "stop"
        return ["Let me look. "], 0, [call(1, "getWeather", {"city": city})], "tool_calls"
    if asked == "twice":
        if results:
            return [" and ".join(results)], 0, [], "stop"
        return [], 0, [call(1, "getWeather", {"city": "Oslo"}), call(2, "getWeather", {"city": "Rome"})], "tool_calls"
    if asked == "look and ask":
        if not results:
            both = [call(1, "fs__dot__list", {"path": "."}), call(2, "getWeather", {"city": "Oslo"})]
            return ["I look."], 0, both, "tool_calls"
        if any("not made" in result for result in results):
            return ["Now I ask."], 0, [call(3, "getWeather", {"city": "Oslo"})], "tool_calls"
        return [f"Outside: {results[-1]}"], 0, [], "stop"
    if asked == "words":
        most = body.get("max_tokens") or body.get("max_completion_tokens")
        return ["word "] * most, 0, [], "length"
    if asked == "json":
        return ['```json\n{"answer": ', "42}\n```"], 0, [], "stop"
    if asked == "reflect":
        return [json.dumps({name: value for name, value in body.items() if name != "stream"})], 0, [], "stop"
    return [f"I do not know what to do with: {asked}"], 0, [], "stop"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def refuse(self, status, text):
        body = json.dumps({"error": {"message": text, "type": "x"}}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        asked = [m["content"] for m in body["messages"] if m["role"] == "user"][-1]
        if asked == "fail":
            return self.refuse(400, "this will never do")
        if asked == "nothing":
            return self.refuse(503, "not now")
        pieces, every, calls, reason = decide(body)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True

        def chunk(delta, reason=None):
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            self.data({"id": "x", "object": "chat.completion.chunk", "model": "test", "choices": [choice]})

        try:
            for piece in pieces:
                chunk({"content": piece})
                if every:
                    time.sleep(every / 1000)
            for index, made in enumerate(calls):
                chunk({"tool_calls": [{"index": index, **made}]})
            chunk({}, reason)
            usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
            self.data({"id": "x", "object": "chat.completion.chunk", "model": "test", "choices": [], "usage": usage})
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            pass

    def data(self, value):
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
        self.wfile.flush()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
