import math
import time

from django.contrib.auth import authenticate, login, logout
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.middleware.csrf import get_token

from .api import BadRequest, api, error, invalid, read_json
from .forms import PhotoForm, ProductForm
from .models import Photo, Product, Token

MAX_SLOW_SECONDS = 60
EVERY_SECONDS = 0.5


@api('GET', 'POST')
def products(request):
    if request.method == 'POST':
        return save_product(request, Product(), status=201)
    return JsonResponse({'products': [product.as_json() for product in Product.objects.all()]})


@api('GET', 'PUT', 'DELETE')
def product(request, pk):
    found = Product.objects.filter(pk=pk).first()
    if found is None:
        return error(f'There is no product {pk}.', 404)
    if request.method == 'PUT':
        return save_product(request, found)
    if request.method == 'DELETE':
        found.delete()
        return HttpResponse(status=204)
    return JsonResponse(found.as_json())


def save_product(request, instance, status=200):
    form = ProductForm(read_json(request), instance=instance)
    if not form.is_valid():
        return invalid(form)
    return JsonResponse(form.save().as_json(), status=status)


@api('GET', 'POST')
def photos(request):
    if request.method == 'POST':
        return save_photo(request)
    stored = Photo.objects.select_related('uploaded_by')
    return JsonResponse({'photos': [photo_as_json(request, photo) for photo in stored]})


def save_photo(request):
    form = PhotoForm(request.POST, request.FILES, instance=Photo(uploaded_by=request.user))
    if form.is_valid():
        return JsonResponse(photo_as_json(request, form.save()), status=201)
    if form.has_error('file', 'too_large'):
        return error(form.errors['file'][0], 413)
    return invalid(form)


def photo_as_json(request, photo):
    return {'id': photo.pk, 'url': request.build_absolute_uri(photo.file.url), 'by': photo.uploaded_by.get_username()}


@api('GET')
def csrf(request):
    return JsonResponse({'csrfToken': get_token(request)})


@api('GET')
def me(request):
    return JsonResponse({'username': request.user.get_username() or None, 'address': request.META['REMOTE_ADDR']})


@api('POST', login_to_write=False)
def log_in(request):
    user = user_with_password(request)
    if user is None:
        return error('Wrong name or password.', 401)
    login(request, user)
    return JsonResponse({'username': user.get_username()})


@api('POST', login_to_write=False)
def log_out(request):
    logout(request)
    return JsonResponse({'username': None})


@api('POST', 'DELETE', login_to_write=False, csrf=False)
def token(request):
    if request.method == 'DELETE':
        return forget_token(request)
    user = user_with_password(request)
    if user is None:
        return error('Wrong name or password.', 401)
    return JsonResponse({'token': Token.issue(user), 'username': user.get_username()}, status=201)


def forget_token(request):
    if request.token is None:
        return error('Send the token to forget as "Authorization: Token …".', 401)
    request.token.delete()
    return HttpResponse(status=204)


def user_with_password(request):
    data = read_json(request)
    return authenticate(request, username=str(data.get('username', '')), password=str(data.get('password', '')))


@api('GET')
def slow(request):
    """Answer after ?seconds=, for whoever wants to see what a timeout looks like."""
    try:
        seconds = float(request.GET.get('seconds', 1))
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= MAX_SLOW_SECONDS:
        raise BadRequest(f'seconds must be a number from 0 to {MAX_SLOW_SECONDS}.')
    time.sleep(seconds)
    return JsonResponse({'seconds': seconds})


@api('GET')
def broken(request):
    """Fail, for whoever wants to see what an error looks like."""
    raise RuntimeError('This endpoint always fails, on purpose.')


@api('GET')
def events(request):
    """The number of products, again and again while the page listens: an event stream."""
    return StreamingHttpResponse(counts(), content_type='text/event-stream', headers={'Cache-Control': 'no-store'})


def counts():
    while True:
        yield f'data: {Product.objects.count()}\n\n'
        time.sleep(EVERY_SECONDS)


@api('GET')
def health(request):
    return JsonResponse({'status': 'ok', 'products': Product.objects.count()})
