"""Slots by croniter: one JSON case a line, [expression, zone, start, count]; one JSON list of seconds a line."""

import json
import sys
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

from croniter import croniter

for line in sys.stdin:
    expression, zone, start, count = json.loads(line)
    begin = datetime.fromtimestamp(start, timezone.utc).astimezone(ZoneInfo(zone))
    try:
        slots = croniter(expression, begin, second_at_beginning=True)
        print(json.dumps([int(slots.get_next(datetime).timestamp()) for _ in range(count)]))
    except Exception as error:
        print(json.dumps(repr(error)))
