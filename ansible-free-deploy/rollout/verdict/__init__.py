"""A browser's verdict on an answer, as a pure function: the Fetch standard, with Chromium's names
for what goes wrong.

    request = Request("https://app.example.com", "https://api.example.com/", "PUT")
    judge(request, [Exchange(response, preflight)]).sentence

Where Chromium and the standard differ, `allowed` says what Chromium does, and a note says that they
differ. `tests/e2e/test_verdict_chromium.py` compares it with a real Chromium.
"""

from rollout.verdict.check import cors_check as cors_check
from rollout.verdict.check import max_age_s as max_age_s
from rollout.verdict.fetch import judge as judge
from rollout.verdict.reasons import Reason as Reason
from rollout.verdict.safelist import needs_preflight as needs_preflight
from rollout.verdict.safelist import preflight_headers as preflight_headers
from rollout.verdict.sites import same_site as same_site
from rollout.verdict.values import Exchange as Exchange
from rollout.verdict.values import Headers as Headers
from rollout.verdict.values import Request as Request
from rollout.verdict.values import Response as Response
from rollout.verdict.values import Verdict as Verdict
