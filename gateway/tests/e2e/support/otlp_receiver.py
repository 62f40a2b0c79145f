"""A receiver of OTLP over HTTP, or HTTPS with a certificate and its key: one line of JSON for each span, with its resource, and one for each request's headers."""

import http.server
import json
import ssl
import sys

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.trace.v1 import trace_pb2


def values(attributes):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def say(**report):
    print(json.dumps(report), flush=True)


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        request = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
        if self.path != "/v1/traces":
            self.send_error(404)
            return
        say(path=self.path, headers={name.lower(): value for name, value in self.headers.items()})
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    say(
                        resource=values(resource.resource.attributes),
                        scope=scope.scope.name,
                        name=span.name,
                        kind=trace_pb2.Span.SpanKind.Name(span.kind),
                        trace=span.trace_id.hex(),
                        id=span.span_id.hex(),
                        parent=span.parent_span_id.hex(),
                        nanoseconds=span.end_time_unix_nano - span.start_time_unix_nano,
                        attributes=values(span.attributes),
                        error=span.status.message if span.status.code == trace_pb2.Status.STATUS_CODE_ERROR else None,
                    )
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver)
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certfile=sys.argv[2], keyfile=sys.argv[3])
    server.socket = context.wrap_socket(server.socket, server_side=True)
say(port=server.server_port)
server.serve_forever()
