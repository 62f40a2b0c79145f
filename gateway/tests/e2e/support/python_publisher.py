"""A backend with python-socketio's Redis manager: `python_publisher.py REDIS_URL CHANNEL`.

Standard input takes one JSON object a line, `{"method": name, "args": [...], "kwargs": {...}}`, which is called on the
manager; `{"pickle": object}` publishes a pickle, as versions before 5.14 did. Each line is answered with
`{"done": number}`. Bytes are written as `{"$bytes": base64}`, a tuple as `{"$tuple": [...]}`.
"""

import base64
import json
import pickle
import sys

import redis
import socketio


def from_json(value):
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if isinstance(value, dict):
        if "$bytes" in value:
            return base64.b64decode(value["$bytes"])
        if "$tuple" in value:
            return tuple(from_json(value["$tuple"]))
        return {key: from_json(item) for key, item in value.items()}
    return value


def main():
    url, channel = sys.argv[1:]
    manager = socketio.RedisManager(url, channel=channel, write_only=True)
    for number, line in enumerate(sys.stdin, start=1):
        order = json.loads(line)
        if "pickle" in order:
            redis.Redis.from_url(url).publish(channel, pickle.dumps(order["pickle"]))
        else:
            method = getattr(manager, order["method"])
            method(*from_json(order["args"]), **from_json(order.get("kwargs", {})))
        print(json.dumps({"done": number}), flush=True)


main()
