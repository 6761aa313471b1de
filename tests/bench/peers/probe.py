"""Run on a host by the peers: wait until it serves, then ask what the kit's own transaction asks.

The orders are the first argument: {"host": str, "allowed": [origin], "refused": [origin]}.
"""

import http.client
import json
import sys
import time
from typing import Mapping  # noqa: UP035 - Python 3.9 on hosts

WAIT_S = 40


def ask(method: str, origin: str, more: Mapping[str, str]) -> tuple[int, list[str]]:
    connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=WAIT_S)
    connection.request(method, "/", headers={"Host": orders["host"], "Origin": origin, **more})
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer.headers.get_all("Access-Control-Allow-Origin", [])


def ask_until_it_serves(method: str, origin: str, more: Mapping[str, str]) -> list[str]:
    end = time.monotonic() + WAIT_S
    while True:
        try:
            status, found = ask(method, origin, more)
            if status not in (502, 503, 504):
                return found
        except OSError:
            pass
        if time.monotonic() > end:
            sys.exit("it does not serve")
        time.sleep(0.02)


orders = json.loads(sys.argv[1])
for wanted in ("allowed", "refused"):
    for origin in orders[wanted]:
        expected = [origin] if wanted == "allowed" else []
        for method, more in (("OPTIONS", {"Access-Control-Request-Method": "PUT"}), ("GET", {})):
            found = ask_until_it_serves(method, origin, more)
            if found != expected:
                sys.exit(
                    f"{method} from {origin}: Access-Control-Allow-Origin is {found}, not"
                    f" {expected}"
                )
