"""A server of the Model Context Protocol for tests: JSON-RPC over lines, standard library alone.

Arguments: the revision (2025-11-25 or 2026-07-28), a folder for what it leaves, and how it misbehaves.
"""
import errno
import json
import os
import sys
import threading
import time

REVISION, FOLDER = sys.argv[1], sys.argv[2]
HOW = sys.argv[3] if len(sys.argv) > 3 else ""
LOCK = threading.Lock()
TOOLS = [
    {"name": "echo", "description": "Says it again.", "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}},
    {"name": "Look At", "description": "Only reads.", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
    {"name": "act", "description": "Does what it is told.", "inputSchema": {"type": "object"}},
]
CANCELLED = set()
BUSY = threading.Lock()


def say(message):
    with LOCK:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def note(name, text):
    with open(os.path.join(FOLDER, name), "a") as file:
        file.write(text + "\n")


def answer(request, result):
    if REVISION == "2026-07-28":
        result = {"resultType": "complete", **result}
    say({"jsonrpc": "2.0", "id": request["id"], "result": result})


def refuse(request, code, text):
    say({"jsonrpc": "2.0", "id": request["id"], "error": {"code": code, "message": text}})


def text(content, is_error=False):
    return {"content": [{"type": "text", "text": content}], "isError": is_error}


def reach(what):
    """Tries to touch each thing; says what came of it."""
    import socket
    import urllib.request

    def connect(family, address):
        with socket.socket(family, socket.SOCK_STREAM) as one:
            one.settimeout(5)
            one.connect(address)

    actions = {
        "read": lambda path: open(path, "rb").read(1),
        "write": lambda path: open(path, "ab").write(b"x"),
        "list": os.listdir,
        "signal": lambda pid: os.kill(pid, 0),
        "tcp": lambda port: connect(socket.AF_INET, ("127.0.0.1", port)),
        "unix": lambda path: connect(socket.AF_UNIX, path),
        "get": lambda url: urllib.request.urlopen(url, timeout=10).read(),
    }
    found = []
    for word, target in what["try"]:
        try:
            actions[word](target)
            found.append("done")
        except OSError as error:
            refused = error.errno in (errno.EPERM, errno.EACCES, errno.EROFS)
            found.append("refused" if refused else getattr(error, "code", None) or error.__class__.__name__)
    return found


def call(request):
    params = request["params"]
    name, arguments, meta = params["name"], params.get("arguments", {}), params.get("_meta", {})
    note("calls", name + " " + str(meta.get("io.openclaw/effect-key")))
    if name == "echo":
        return answer(request, text(arguments["text"]))
    if name in ("Look At", "added"):
        return answer(request, text(name))
    how = arguments.get("how")
    if how == "die":
        os._exit(7)
    if how == "hang":
        while request["id"] not in CANCELLED:
            time.sleep(0.005)
        return note("cancelled", str(request["id"]))
    if how == "refuse":
        return refuse(request, -32602, "not so")
    if how == "fail":
        return answer(request, text("it did not work", True))
    if how == "large":
        return answer(request, text("x" * 300000))
    if how == "huge":
        return answer(request, text("x" * 6000000))
    if how == "garbage":
        with LOCK:
            sys.stdout.write('{"jsonrpc": "2.0", "id": %s, "result": [1, 2\n' % json.dumps(request["id"]))
            sys.stdout.flush()
        return None
    if how == "flood":
        line = json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x" * 500000}}) + "\n"
        with LOCK:
            while True:
                sys.stdout.write(line)
    if how == "child":
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(600)
            os._exit(0)
        return answer(request, text("born"))
    if how == "stranger":
        # Of it nothing leads back but the group that it cannot leave.
        child = os.fork()
        if child == 0:
            os.setsid()
            if os.fork() == 0:
                os.execve("/bin/sleep", ["sleep", arguments["for"]], {})
            os._exit(0)
        os.waitpid(child, 0)
        return answer(request, text("born"))
    if how == "change":
        TOOLS.append({"name": "added", "description": "New.", "inputSchema": {"type": "object"}})
        del TOOLS[1]
        answer(request, text("changed"))
        params = {"_meta": {"io.modelcontextprotocol/subscriptionId": SUBSCRIBED[0]}} if SUBSCRIBED else {}
        return say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": params})
    if how == "busy":
        # It says that its tools have changed, and tells them when it has done its work.
        with BUSY:
            TOOLS.append({"name": "added", "description": "New.", "inputSchema": {"type": "object"}})
            say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {}})
            time.sleep(arguments["seconds"])
            return answer(request, text("done"))
    if how == "progress":
        for done in range(3):
            say({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": meta["progressToken"], "progress": done, "total": 3, "message": "step"}})
        return answer(request, text("done"))
    if how == "mark":
        mark = "- %s %s once" % (arguments["step"], meta.get("io.openclaw/effect-key"))
        note("attempts", mark)
        note("ledger", mark)
        return answer(request, text("marked"))
    if how == "reach":
        return answer(request, text(json.dumps(reach(arguments))))
    if how == "grow":
        held = []
        while len(held) < 512:
            held.append(b"x" * (1 << 20))
            time.sleep(0.001)
        time.sleep(600)
    if how == "env":
        return answer(request, text(json.dumps(dict(os.environ))))
    return refuse(request, -32602, "what?")


SUBSCRIBED = []


def main():
    note("starts", str(os.getpid()))
    sys.stderr.write("the server speaks %s\n" % REVISION)
    sys.stderr.flush()
    if HOW == "crash":
        sys.stderr.write("no licence\n")
        sys.exit(3)
    if HOW == "mute":
        time.sleep(600)
    if HOW == "noise":
        while True:
            sys.stdout.write("not json at all\n" * 100)
            sys.stdout.flush()
            time.sleep(0.01)
    capabilities = {"tools": {"listChanged": True}}
    own = {"name": "test", "version": "1"}
    for line in sys.stdin:
        request = json.loads(line)
        method = request.get("method")
        if HOW == "strict" and method == "server/discover":
            os._exit(4)
        if HOW == "stubborn":
            import signal
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if method == "server/discover" and REVISION == "2026-07-28":
            answer(request, {"supportedVersions": ["2026-07-28"], "capabilities": capabilities, "ttlMs": 0, "cacheScope": "private"})
        elif method == "initialize" and REVISION == "2025-11-25":
            answer(request, {"protocolVersion": REVISION, "capabilities": capabilities, "serverInfo": own})
        elif method == "subscriptions/listen" and REVISION == "2026-07-28":
            SUBSCRIBED.append(request["id"])
            meta = {"io.modelcontextprotocol/subscriptionId": request["id"]}
            say({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": {"_meta": meta, "notifications": request["params"]["notifications"]}})
        elif method == "tools/list":
            with BUSY:
                answer(request, {"tools": TOOLS})
        elif method == "tools/call":
            threading.Thread(target=call, args=(request,), daemon=True).start()
        elif method == "notifications/cancelled":
            CANCELLED.add(request["params"]["requestId"])
        elif "id" in request and "method" in request:
            refuse(request, -32601, "no such method")
    if HOW == "stubborn":
        time.sleep(600)


main()
