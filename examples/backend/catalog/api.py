"""What every view of the API shares: who is asking, JSON in, JSON out."""

import json
from functools import wraps

from django.http import JsonResponse
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods

from .models import Token

SAFE_METHODS = ('GET', 'HEAD')


class BadRequest(Exception):
    """The request's body is not what the view asked for."""


def error(message, status):
    return JsonResponse({'error': message}, status=status)


def invalid(form):
    return JsonResponse({'error': 'Some fields are wrong.', 'fields': form.errors}, status=400)


def read_json(request):
    """The JSON object in the request's body. Raises BadRequest for anything else."""
    try:
        data = json.loads(request.body)
    except ValueError as problem:
        raise BadRequest(f'The body is not JSON: {problem}') from None
    if not isinstance(data, dict):
        raise BadRequest('The body must be a JSON object.')
    return data


def api(*methods, login_to_write=True, csrf=True):
    """
    A view of the API.

    A token is sent on purpose, by code; a cookie is sent by any page that makes the browser post here. So requests
    with a token need no CSRF token, and all others do; `csrf=False` is for views that look at no cookie.
    """
    def decorate(view):
        def answer(request, *args, **kwargs):
            if login_to_write and request.method not in SAFE_METHODS and not request.user.is_authenticated:
                return error('Log in first.', 401)
            try:
                return view(request, *args, **kwargs)
            except BadRequest as problem:
                return error(str(problem), 400)

        protected = csrf_protect(answer) if csrf else answer

        def by_login(request, *args, **kwargs):
            scheme, _, key = request.headers.get('Authorization', '').partition(' ')
            if scheme.lower() != 'token':
                return protected(request, *args, **kwargs)
            request.token = Token.find(key.strip())
            if request.token is None:
                return error('This token is not valid. Log in again.', 401)
            request.user = request.token.user
            return answer(request, *args, **kwargs)

        @csrf_exempt
        @require_http_methods(methods)
        @wraps(view)
        def wrapper(request, *args, **kwargs):
            request.token = None
            response = by_login(request, *args, **kwargs)
            if 'X-Cart' in request.headers:
                response.headers['X-Cart-Seen'] = request.headers['X-Cart']
            return response

        return wrapper

    return decorate
