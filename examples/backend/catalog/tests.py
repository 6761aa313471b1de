import json
import tempfile
from io import StringIO

from django.contrib.auth import get_user_model
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.test import Client, TestCase, override_settings

from .forms import MAX_PHOTO_BYTES
from .models import Photo, Product, Token

PASSWORD = 'correct-horse-battery'
KETTLE = {'name': 'Kettle', 'price': '19.90', 'stock': 2}


# The real hasher is slow on purpose.
@override_settings(PASSWORD_HASHERS=['django.contrib.auth.hashers.MD5PasswordHasher'])
class ApiTestCase(TestCase):
    """A client that checks CSRF as a real server does, and a user who may log in."""

    @classmethod
    def setUpTestData(cls):
        cls.ada = get_user_model().objects.create_user('ada', password=PASSWORD)

    def setUp(self):
        self.client = Client(enforce_csrf_checks=True)

    def send(self, method, path, body=None, **headers):
        data = '' if body is None else json.dumps(body)
        return self.client.generic(method, path, data, content_type='application/json', headers=headers)

    def csrf(self):
        return self.client.get('/api/csrf/').json()['csrfToken']

    def log_in(self):
        credentials = {'username': 'ada', 'password': PASSWORD}
        return self.send('POST', '/api/login/', credentials, **{'X-CSRFToken': self.csrf()})

    def token(self):
        return self.send('POST', '/api/token/', {'username': 'ada', 'password': PASSWORD}).json()['token']


class ReadingTests(ApiTestCase):
    def test_three_products_are_there_from_the_start(self):
        products = self.client.get('/api/products/').json()['products']
        self.assertEqual([product['name'] for product in products],
                         ['Cast-iron pan', 'Coffee grinder', 'Linen tea towel'])

    def test_one_product_has_its_price_as_text(self):
        pan = Product.objects.get(name='Cast-iron pan')
        self.assertEqual(self.client.get(f'/api/products/{pan.pk}/').json(),
                         {'id': pan.pk, 'name': 'Cast-iron pan', 'price': '49.00', 'stock': 12})

    def test_a_product_that_is_not_there_is_404(self):
        self.assertEqual(self.client.get('/api/products/999/').status_code, 404)

    def test_the_header_x_cart_comes_back(self):
        answer = self.client.get('/api/products/', headers={'X-Cart': '7'})
        self.assertEqual(answer.headers['X-Cart-Seen'], '7')
        self.assertNotIn('X-Cart-Seen', self.client.get('/api/products/').headers)

    def test_a_method_that_is_not_there_is_405(self):
        self.assertEqual(self.send('DELETE', '/api/products/').status_code, 405)

    def test_health_slow_and_error_answer_with_and_without_the_slash(self):
        self.client.raise_request_exception = False
        for slash in '', '/':
            self.assertEqual(self.client.get(f'/api/health{slash}').json()['status'], 'ok')
            self.assertEqual(self.client.get(f'/api/slow{slash}?seconds=0').json(), {'seconds': 0})
            self.assertEqual(self.client.get(f'/api/error{slash}').status_code, 500)

    def test_events_go_on(self):
        answer = self.client.get('/api/events/')
        self.assertEqual(answer.headers['Content-Type'], 'text/event-stream')
        pieces = iter(answer)
        self.assertEqual(next(pieces), next(pieces))
        answer.close()

    def test_slow_is_bounded(self):
        for seconds in '61', '-1', 'nan', 'inf', 'x':
            self.assertEqual(self.client.get('/api/slow/', {'seconds': seconds}).status_code, 400, seconds)


class TokenTests(ApiTestCase):
    def test_only_the_hash_of_a_token_is_kept(self):
        key = self.token()
        self.assertEqual(Token.find(key).user, self.ada)
        self.assertNotIn(key, Token.objects.values_list('digest', flat=True))

    def test_a_token_writes_without_a_csrf_token(self):
        login = {'Authorization': f'Token {self.token()}'}
        made = self.send('POST', '/api/products/', KETTLE, **login)
        self.assertEqual(made.status_code, 201)
        path = f'/api/products/{made.json()["id"]}/'
        changed = self.send('PUT', path, {**KETTLE, 'price': '21.00'}, **login)
        self.assertEqual((changed.status_code, changed.json()['price']), (200, '21.00'))
        self.assertEqual(self.send('DELETE', path, **login).status_code, 204)
        self.assertEqual(self.client.get(path).status_code, 404)

    def test_a_token_says_who_it_is(self):
        answer = self.client.get('/api/me/', headers={'Authorization': f'Token {self.token()}'})
        self.assertEqual(answer.json(), {'username': 'ada', 'address': '127.0.0.1'})

    def test_a_wrong_or_forgotten_token_is_401(self):
        login = {'Authorization': f'Token {self.token()}'}
        self.assertEqual(self.send('DELETE', '/api/token/', **login).status_code, 204)
        for value in login['Authorization'], 'Token', 'Token wrong':
            self.assertEqual(self.client.get('/api/me/', headers={'Authorization': value}).status_code, 401, value)

    def test_a_wrong_token_does_not_fall_back_to_the_session(self):
        self.log_in()
        self.assertEqual(self.send('POST', '/api/products/', KETTLE, Authorization='Token wrong').status_code, 401)

    def test_a_user_who_is_no_longer_active_is_out(self):
        login = {'Authorization': f'Token {self.token()}'}
        get_user_model().objects.update(is_active=False)
        self.assertEqual(self.client.get('/api/me/', headers=login).status_code, 401)

    def test_a_wrong_password_gets_no_token(self):
        self.assertEqual(self.send('POST', '/api/token/', {'username': 'ada', 'password': 'x'}).status_code, 401)


class SessionTests(ApiTestCase):
    def test_a_session_writes_with_the_csrf_token(self):
        self.assertEqual(self.log_in().json(), {'username': 'ada'})
        made = self.send('POST', '/api/products/', KETTLE, **{'X-CSRFToken': self.csrf()})
        self.assertEqual(made.status_code, 201)

    def test_a_session_does_not_write_without_it(self):
        self.log_in()
        for token in {}, {'X-CSRFToken': 'wrong'}:
            self.assertEqual(self.send('POST', '/api/products/', KETTLE, **token).status_code, 403)
        self.assertFalse(Product.objects.filter(name='Kettle').exists())

    def test_logging_in_needs_the_csrf_token_too(self):
        self.assertEqual(self.send('POST', '/api/login/', {'username': 'ada', 'password': PASSWORD}).status_code, 403)

    def test_a_wrong_password_is_401(self):
        answer = self.send('POST', '/api/login/', {'username': 'ada', 'password': 'x'}, **{'X-CSRFToken': self.csrf()})
        self.assertEqual(answer.status_code, 401)

    def test_logging_out_ends_the_session(self):
        self.log_in()
        self.assertEqual(self.client.get('/api/me/').json(), {'username': 'ada', 'address': '127.0.0.1'})
        self.send('POST', '/api/logout/', **{'X-CSRFToken': self.csrf()})
        self.assertEqual(self.client.get('/api/me/').json(), {'username': None, 'address': '127.0.0.1'})


class WritingTests(ApiTestCase):
    def setUp(self):
        super().setUp()
        self.login = {'Authorization': f'Token {self.token()}'}

    def test_writing_needs_a_login(self):
        path = f'/api/products/{Product.objects.first().pk}/'
        csrf = {'X-CSRFToken': self.csrf()}
        for method, target in ('POST', '/api/products/'), ('PUT', path), ('DELETE', path), ('POST', '/api/photos/'):
            self.assertEqual(self.send(method, target, KETTLE, **csrf).status_code, 401, method)

    def test_bad_fields_are_named(self):
        for field, value in ('name', ''), ('price', '-1'), ('price', 'NaN'), ('price', '1.999'), ('stock', -1):
            answer = self.send('POST', '/api/products/', {**KETTLE, field: value}, **self.login)
            self.assertEqual((answer.status_code, [*answer.json()['fields']]), (400, [field]), value)

    def test_a_body_that_is_no_json_object_is_400(self):
        for body in '', '{', '[]', '1', '\udcff':
            answer = self.client.generic('POST', '/api/products/', body.encode('utf-8', 'surrogateescape'),
                                         content_type='application/json', headers=self.login)
            self.assertEqual(answer.status_code, 400, body)


class PhotoTests(ApiTestCase):
    def setUp(self):
        super().setUp()
        self.login = {'Authorization': f'Token {self.token()}'}
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        media = override_settings(MEDIA_ROOT=folder.name)
        media.enable()
        self.addCleanup(media.disable)

    def upload(self, name, content):
        return self.client.post('/api/photos/', {'file': SimpleUploadedFile(name, content)}, headers=self.login)

    def test_a_photo_is_stored_and_listed(self):
        answer = self.upload('pan.png', b'\x89PNG')
        self.assertEqual((answer.status_code, answer.json()['by']), (201, 'ada'))
        self.assertEqual(self.client.get('/api/photos/').json(), {'photos': [answer.json()]})
        with Photo.objects.get().file.open() as stored:
            self.assertEqual(stored.read(), b'\x89PNG')

    def test_a_page_is_no_photo(self):
        for name in 'pan.html', 'pan.svg', 'pan':
            self.assertEqual(self.upload(name, b'<script>').status_code, 400, name)

    def test_a_photo_that_is_too_large_is_413(self):
        self.assertEqual(self.upload('pan.png', bytes(MAX_PHOTO_BYTES + 1)).status_code, 413)
        self.assertFalse(Photo.objects.exists())


class CreateDemoTests(TestCase):
    def run_it(self, password):
        out = StringIO()
        call_command('createdemo', 'bob', password, stdout=out)
        return out.getvalue().strip()

    def test_run_twice_it_changes_nothing(self):
        self.assertEqual([self.run_it('one'), self.run_it('one')], ['bob created.', 'bob is there already.'])

    def test_the_last_password_counts(self):
        self.run_it('one')
        self.assertEqual(self.run_it('two'), 'bob has the new password now.')
        self.assertTrue(self.client.login(username='bob', password='two'))
