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
