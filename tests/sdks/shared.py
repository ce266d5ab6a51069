"""What the scripts have in common: where the daemon is, and how a promise is checked."""

import os

URL = os.environ["OPENCLAW_TEST_URL"]
KEY = os.environ["OPENCLAW_TEST_KEY"]
WEATHER = {
    "name": "getWeather",
    "description": "The weather of a city.",
    "schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def same(found, expected, what=""):
    assert found == expected, f"{what}: expected {expected!r}, found {found!r}"


def runs(get):
    """The newest runs; `get` asks the native API."""
    return {run["id"] for run in get("/runs?limit=200")["runs"]}


def once(get, act):
    """That `act` makes exactly one run, also when it is refused afterwards; gives what it gave."""
    before = runs(get)
    result = act()
    # The page is full at most by the old ones that fall out of it at its other end.
    made = runs(get) - before
    assert len(made) == 1, f"one call made {len(made)} runs: {made}"
    return result


def accepted(error):
    """That a refusal names the run which was accepted, and that the client did not send the request again."""
    run = (error.body.get("error") or error.body)["openclaw"]["run"]
    assert run.startswith("/v1/runs/run_"), error.body
    same(error.response.headers["location"], run)
    same(error.response.headers["x-should-retry"], "false")
    same(int(error.request.headers.get("x-stainless-retry-count", "0")), 0)


def refused(kind, act, status, **members):
    """That `act` is refused with this class of error, status and members."""
    try:
        result = act()
    except kind as error:
        same(error.status_code, status, str(error))
        assert error.request_id and error.request_id.startswith("req_"), error.request_id
        for name, value in members.items():
            same(getattr(error, name), value, f"{name} of {error}")
        return error
    raise AssertionError(f"it was not refused: {result!r}")
