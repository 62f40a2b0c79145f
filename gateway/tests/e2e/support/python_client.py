"""A python-socketio client that is told what to do: `python_client.py URL TRANSPORT [OPTIONS]`, with more arguments of
`connect` as a JSON object.

Standard input takes one JSON object a line, `{"call": event, "args": [...]}` or `{"disconnect": true}`; standard output
gives one a line: `{"connected": id}`, `{"ack": value}`, `{"event": name, "args": [...]}`, `{"disconnected": reason}`,
`{"refused": what the server said}`.
Bytes are written as `{"$bytes": base64}` both ways.
"""

import base64
import json
import sys
import threading

import socketio


def from_json(value):
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if isinstance(value, dict):
        if "$bytes" in value:
            return base64.b64decode(value["$bytes"])
        return {key: from_json(item) for key, item in value.items()}
    return value


def to_json(value):
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    return value


OUTPUT = threading.Lock()


def say(**fields):
    """Writes one line; events arrive in threads of their own."""
    with OUTPUT:
        print(json.dumps(fields), flush=True)


def main():
    url, transport = sys.argv[1:3]
    options = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    client = socketio.Client(reconnection=False)
    client.on("*", lambda event, *args: say(event=event, args=to_json(args)))
    client.on("disconnect", lambda reason: say(disconnected=reason))
    client.on("connect_error", lambda data: say(refused=data))
    try:
        client.connect(url, transports=[transport], wait_timeout=20, **options)
    except socketio.exceptions.ConnectionError:
        return
    say(connected=client.get_sid(), transport=client.transport())
    for line in sys.stdin:
        order = json.loads(line)
        if "disconnect" in order:
            client.disconnect()
            return
        # A tuple is a list of arguments to python-socketio; a list would be one argument.
        say(ack=to_json(client.call(order["call"], tuple(from_json(order["args"])), timeout=20)))


main()
