"""Answers as any application, but under /endless/ and /dripping/, which a probe must not wait for."""

import itertools
import time

from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path, re_path


def endless(request):
    return StreamingHttpResponse(itertools.repeat(b"x" * 65536))


def dripping(request):
    def bytes_now_and_then():
        while True:
            yield b"x"
            time.sleep(1)

    return StreamingHttpResponse(bytes_now_and_then())


urlpatterns = [path("endless/", endless), path("dripping/", dripping), re_path("", lambda request: HttpResponse("ok"))]
