"""A gRPC server and a client made with gRPC's own library.

    grpc_peer.py serve                            prints its port, serves until its input ends
    grpc_peer.py call ADDRESS AUTHORITY [CA.PEM]  makes calls of every kind, exits 0 if all went well

Messages are bytes as they are: what matters here is how they travel.
"""

import concurrent.futures
import sys
import threading

import grpc

BIG = 3 * 1024 * 1024
CALLS = 50
STATUS_TEXT = "said so: \u00fc, 100 %"
cancelled = threading.Event()


def say(request, context):
    sent = dict(context.invocation_metadata())
    context.send_initial_metadata((("seen", sent.get("word", "none")),))
    context.set_trailing_metadata((("sum", str(len(request))), ("raw-bin", bytes(range(256)))))
    return request


def missing(request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, STATUS_TEXT)


def count(request, context):
    for number in range(int(request)):
        yield b"%d" % number
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, STATUS_TEXT)


def add(requests, context):
    return b"%d" % sum(len(request) for request in requests)


def chat(requests, context):
    yield from requests


def wait(request, context):
    context.add_callback(cancelled.set)
    yield b"begun"
    # Longer than anything takes here; the call's end comes first.
    cancelled.wait(60)


def was_cancelled(request, context):
    return b"yes" if cancelled.wait(30) else b"no"


def serve():
    unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
    methods = {
        "Say": unary(say),
        "Missing": unary(missing),
        "Count": stream(count),
        "Add": grpc.stream_unary_rpc_method_handler(add),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
        "Wait": stream(wait),
        "WasCancelled": unary(was_cancelled),
    }
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(16))
    handler = grpc.method_handlers_generic_handler("demo.Echo", methods)
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(None)


def call(address, authority, front, root=None):
    options = [("grpc.default_authority", authority), ("grpc.enable_http_proxy", 0)]
    if root is None:
        channel = grpc.insecure_channel(address, options)
    else:
        with open(root, "rb") as file:
            trust = grpc.ssl_channel_credentials(file.read())
        options.append(("grpc.ssl_target_name_override", authority))
        channel = grpc.secure_channel(address, trust, options)
    with channel:
        every_kind(channel, front in ("caddy", "traefik"))


def every_kind(channel, blurred):
    def path(name):
        return "/demo.Echo/" + name

    say = channel.unary_unary(path("Say"))
    answer, ended = say.with_call(b"ping", timeout=30, metadata=(("word", "kept"),))
    assert answer == b"ping", answer
    assert dict(ended.initial_metadata())["seen"] == "kept", ended.initial_metadata()
    trailing = dict(ended.trailing_metadata())
    assert trailing["sum"] == "4" and trailing["raw-bin"] == bytes(range(256)), trailing
    big = bytes(BIG)
    assert say(big, timeout=60) == big
    assert say(b"", timeout=30) == b""

    refused = failure(lambda: channel.unary_unary(path("Missing"))(b"x", timeout=30))
    # Refused before its request was read. Proxies made of Go's net/http may end such an answer with
    # an empty DATA frame, which the library does not take for an answer.
    lost = [grpc.StatusCode.UNKNOWN] if blurred else []
    assert refused == (grpc.StatusCode.NOT_FOUND, STATUS_TEXT) or refused[0] in lost, refused
    unknown = failure(lambda: channel.unary_unary(path("Unknown"))(b"x", timeout=30))
    assert unknown[0] in [grpc.StatusCode.UNIMPLEMENTED, *lost], unknown

    counted = []
    ended = failure(lambda: counted.extend(channel.unary_stream(path("Count"))(b"3", timeout=30)))
    assert counted == [b"0", b"1", b"2"], counted
    assert ended == (grpc.StatusCode.RESOURCE_EXHAUSTED, STATUS_TEXT), ended

    pieces = (bytes(64 * 1024) for _ in range(64))
    total = channel.stream_unary(path("Add"))(pieces, timeout=60)
    assert total == b"%d" % (64 * 64 * 1024), total

    in_turn(channel.stream_stream(path("Chat")))

    waiting = channel.unary_stream(path("Wait"))(b"", timeout=60)
    assert next(waiting) == b"begun"
    waiting.cancel()
    assert channel.unary_unary(path("WasCancelled"))(b"", timeout=40) == b"yes"

    many = [say.future(b"%d" % number, timeout=60) for number in range(CALLS)]
    assert [one.result() for one in many] == [b"%d" % number for number in range(CALLS)]


def in_turn(chat):
    """Each message leaves when the answer to the one before has come."""
    heard = threading.Semaphore(1)

    def said():
        for number in range(5):
            assert heard.acquire(timeout=30)
            yield b"%d" % number

    answers = []
    for answer in chat(said(), timeout=60):
        answers.append(answer)
        heard.release()
    assert answers == [b"%d" % number for number in range(5)], answers


def failure(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details()
    return None


if __name__ == "__main__":
    serve() if sys.argv[1] == "serve" else call(*sys.argv[2:])
