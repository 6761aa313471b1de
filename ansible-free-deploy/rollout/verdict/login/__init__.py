"""Can this page log in and write? Whether a browser keeps the session's cookie, whether the page's
script gets Django's CSRF token, and whether a write passes. Pure.

    verdict = log_in(Page("https://app.example.com"), api, SAFARI)
    verdict.session, verdict.token, verdict.write  # each None, or why not, with the cure

`tests/e2e/test_login_chromium.py` and `test_login_firefox.py` compare it with real browsers and a
real Django.
"""

from rollout.verdict.login.browsers import BROWSERS as BROWSERS
from rollout.verdict.login.browsers import CHROMIUM as CHROMIUM
from rollout.verdict.login.browsers import CHROMIUM_BLOCKING as CHROMIUM_BLOCKING
from rollout.verdict.login.browsers import FIREFOX as FIREFOX
from rollout.verdict.login.browsers import SAFARI as SAFARI
from rollout.verdict.login.browsers import Browser as Browser
from rollout.verdict.login.causes import Cause as Cause
from rollout.verdict.login.causes import Hurdle as Hurdle
from rollout.verdict.login.cookie import Cookie as Cookie
from rollout.verdict.login.cookie import not_returned as not_returned
from rollout.verdict.login.cookie import not_stored as not_stored
from rollout.verdict.login.cookie import not_visible as not_visible
from rollout.verdict.login.cookie import without_prefix as without_prefix
from rollout.verdict.login.csrf import Csrf as Csrf
from rollout.verdict.login.csrf import CsrfRequest as CsrfRequest
from rollout.verdict.login.csrf import refusal as refusal
from rollout.verdict.login.session import Api as Api
from rollout.verdict.login.session import Handing as Handing
from rollout.verdict.login.session import Login as Login
from rollout.verdict.login.session import Page as Page
from rollout.verdict.login.session import log_in as log_in
