"""Views for each kind of answer that a proxy meets."""

import threading
from collections.abc import Iterator

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import etag

second_may_go = threading.Event()


@csrf_exempt
def echo(request: HttpRequest) -> HttpResponse:
    asked = {name: value for name, value in request.META.items() if isinstance(value, str)}
    facts = {"method": request.method, "host": request.get_host(), "scheme": request.scheme}
    return JsonResponse({**facts, "meta": asked})


@csrf_exempt
def size(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"size": len(request.body)})


def boom(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("meant to fail")


def opinionated(request: HttpRequest) -> HttpResponse:
    """A view with ideas of its own about CORS."""
    return HttpResponse("mine", headers={
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Methods": "TRACE",
        "Access-Control-Allow-Headers": "x-mine",
        "Access-Control-Expose-Headers": "x-mine",
        "Access-Control-Max-Age": "1728000",
        "Access-Control-Allow-Private-Network": "true",
    })


@etag(lambda request: '"one"')
def tagged(request: HttpRequest) -> HttpResponse:
    return HttpResponse("tagged")


def beyond(request: HttpRequest) -> HttpResponse:
    """A range that the application itself can't satisfy."""
    return HttpResponse(status=416)


@csrf_exempt
@etag(lambda request: '"large"')
def large(request: HttpRequest) -> HttpResponse:
    """Some 56 kB of JSON, with an ETag that a client may send back in If-Match."""
    return JsonResponse([{"id": i, "name": f"Plant {i}", "price": f"{i % 90}.90"} for i in range(1200)], safe=False)


def events(request: HttpRequest) -> StreamingHttpResponse:
    """A stream of events, longer than what nginx compresses at least."""
    parts = (f"data: {number} {'x' * 100}\n\n".encode() for number in range(100))
    return StreamingHttpResponse(parts, content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def parts() -> Iterator[bytes]:
        yield b"first\n"
        second_may_go.wait(timeout=20)
        yield b"second\n"

    return StreamingHttpResponse(parts(), headers={"X-Accel-Buffering": "no"})


def go(request: HttpRequest) -> HttpResponse:
    second_may_go.set()
    return HttpResponse("gone")


urlpatterns = [
    path("echo/", echo),
    path("size/", size),
    path("boom/", boom),
    path("opinionated/", opinionated),
    path("tagged/", tagged),
    path("beyond/", beyond),
    path("large/", large),
    path("events/", events),
    path("stream/", stream),
    path("go/", go),
]
