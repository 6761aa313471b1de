"""Why a browser keeps an answer from a page: Chromium's names, the rule behind each, a sentence for
a person.

Names in capitals are `network::mojom::CorsError`, as DevTools reports them in `corsErrorStatus`;
the rest are what people call CORS and is not. `docs/cors-errors.md` has a heading for each.
"""

from __future__ import annotations

from enum import StrEnum

_FETCH = "https://fetch.spec.whatwg.org/#"
_CHECK = _FETCH + "concept-cors-check"
_PREFLIGHT = _FETCH + "cors-preflight-fetch-0"
_REDIRECT = _FETCH + "concept-http-redirect-fetch"
_LNA = "https://wicg.github.io/local-network-access/#"


class Reason(StrEnum):
    """Why a browser keeps an answer from a page."""

    MissingAllowOriginHeader = "MissingAllowOriginHeader"
    MultipleAllowOriginValues = "MultipleAllowOriginValues"
    InvalidAllowOriginValue = "InvalidAllowOriginValue"
    AllowOriginMismatch = "AllowOriginMismatch"
    WildcardOriginNotAllowed = "WildcardOriginNotAllowed"
    InvalidAllowCredentials = "InvalidAllowCredentials"
    PreflightMissingAllowOriginHeader = "PreflightMissingAllowOriginHeader"
    PreflightMultipleAllowOriginValues = "PreflightMultipleAllowOriginValues"
    PreflightInvalidAllowOriginValue = "PreflightInvalidAllowOriginValue"
    PreflightAllowOriginMismatch = "PreflightAllowOriginMismatch"
    PreflightWildcardOriginNotAllowed = "PreflightWildcardOriginNotAllowed"
    PreflightInvalidAllowCredentials = "PreflightInvalidAllowCredentials"
    PreflightInvalidStatus = "PreflightInvalidStatus"
    PreflightDisallowedRedirect = "PreflightDisallowedRedirect"
    InvalidAllowMethodsPreflightResponse = "InvalidAllowMethodsPreflightResponse"
    InvalidAllowHeadersPreflightResponse = "InvalidAllowHeadersPreflightResponse"
    MethodDisallowedByPreflightResponse = "MethodDisallowedByPreflightResponse"
    HeaderDisallowedByPreflightResponse = "HeaderDisallowedByPreflightResponse"
    RedirectContainsCredentials = "RedirectContainsCredentials"
    CorsDisabledScheme = "CorsDisabledScheme"
    InsecureLocalNetwork = "InsecureLocalNetwork"
    LocalNetworkAccessPermissionDenied = "LocalNetworkAccessPermissionDenied"
    mixed_content = "mixed-content"
    csp = "csp"
    unsafe_port = "unsafe-port"
    forbidden_method = "forbidden-method"
    url_with_password = "url-with-password"
    redirect_refused = "redirect-refused"
    too_many_redirects = "too-many-redirects"
    no_answer = "no-answer"

    @property
    def source(self) -> str:
        """The paragraph of the standard."""
        return _WORDS[self][0]

    @property
    def template(self) -> str:
        """The sentence, with places for what was asked ({origin}, {url}) and what was wrong
        ({detail})."""
        return _WORDS[self][1]

    @property
    def of_any_answer(self) -> str:
        """The name without the part that says that it is about a preflight's answer."""
        return self.removeprefix("Preflight")


# What the CORS check says of the answer; the same finding on a preflight has a name of its own.
_CHECKED = {
    Reason.MissingAllowOriginHeader: (
        _CHECK,
        "the {answer} of {url} has no Access-Control-Allow-Origin; it must be {origin}",
    ),
    Reason.MultipleAllowOriginValues: (
        _CHECK,
        (
            "the {answer} of {url} has several values in Access-Control-Allow-Origin ({detail}); it"
            " must be {origin} alone"
        ),
    ),
    Reason.InvalidAllowOriginValue: (
        _CHECK,
        (
            "the {answer} of {url} has {detail!r} in Access-Control-Allow-Origin, which is"
            " not an origin; it must be {origin}"
        ),
    ),
    Reason.AllowOriginMismatch: (
        _CHECK,
        (
            "the {answer} of {url} allows {detail!r}; the page's origin is {origin}, and both must"
            " be exactly equal"
        ),
    ),
    Reason.WildcardOriginNotAllowed: (
        _FETCH + "cors-protocol-and-credentials",
        (
            "the {answer} of {url} allows `*`, which doesn't count for a request with cookies; it"
            " must be {origin}"
        ),
    ),
    Reason.InvalidAllowCredentials: (
        _CHECK,
        (
            "the request carries cookies, and Access-Control-Allow-Credentials of the {answer} of"
            " {url} is {detail!r}; it must be `true`, in lower case and once"
        ),
    ),
}

_WORDS = {
    **_CHECKED,
    **{Reason("Preflight" + reason): words for reason, words in _CHECKED.items()},
    Reason.PreflightInvalidStatus: (
        _PREFLIGHT,
        "the preflight of {url} is answered with status {detail}; browsers want 200 to 299",
    ),
    Reason.PreflightDisallowedRedirect: (
        _PREFLIGHT,
        (
            "the preflight of {url} is redirected to {detail!r}; a preflight may not be: call the"
            " final URL"
        ),
    ),
    Reason.InvalidAllowMethodsPreflightResponse: (
        _PREFLIGHT,
        (
            "Access-Control-Allow-Methods of {url} can't be read: {detail!r}; write methods with"
            " commas between"
        ),
    ),
    Reason.InvalidAllowHeadersPreflightResponse: (
        _PREFLIGHT,
        (
            "Access-Control-Allow-Headers of {url} can't be read: {detail!r}; write header names"
            " with commas between"
        ),
    ),
    Reason.MethodDisallowedByPreflightResponse: (
        _PREFLIGHT,
        "the preflight of {url} doesn't allow the method {detail}; upper and lower case count",
    ),
    Reason.HeaderDisallowedByPreflightResponse: (
        _PREFLIGHT,
        "the preflight of {url} doesn't allow the request header {detail}",
    ),
    Reason.RedirectContainsCredentials: (
        _REDIRECT,
        (
            "the redirect leads to a URL with a user name or password in it, at {detail}; browsers"
            " don't follow it"
        ),
    ),
    Reason.CorsDisabledScheme: (
        _REDIRECT,
        "the redirect leads to {detail!r}; only http and https can be fetched",
    ),
    Reason.InsecureLocalNetwork: (
        _LNA + "local-network-request",
        (
            "{url} is in the {detail} address space, closer than the page, and the page isn't"
            " https: browsers refuse that whatever the headers say"
        ),
    ),
    Reason.LocalNetworkAccessPermissionDenied: (
        _LNA + "permission-prompt",
        (
            "{url} is in the {detail} address space, closer than the page: browsers ask the visitor"
            " first"
        ),
    ),
    Reason.mixed_content: (
        "https://w3c.github.io/webappsec-mixed-content/#should-block-fetch",
        (
            "the page is https and {url} is not: browsers block that before anything is sent; serve"
            " the API by https"
        ),
    ),
    Reason.csp: (
        "https://w3c.github.io/webappsec-csp/#directive-connect-src",
        "the page's own Content-Security-Policy ({detail}) doesn't let it connect to {url}",
    ),
    Reason.unsafe_port: (
        _FETCH + "block-bad-port",
        "browsers load nothing from port {detail}; put the API on another one",
    ),
    Reason.forbidden_method: (_FETCH + "forbidden-method", "no page may use the method {detail}"),
    Reason.url_with_password: (
        _FETCH + "dom-request",
        "there is a user name or password in the URL, at {detail}; pages can't load such URLs",
    ),
    Reason.redirect_refused: (
        _FETCH + "concept-http-fetch",
        "{url} redirects to {detail!r}, and the page asked with redirect: 'error'",
    ),
    Reason.too_many_redirects: (_REDIRECT, "more than twenty redirects, the last one at {url}"),
    Reason.no_answer: (
        _FETCH + "concept-network-error",
        "no answer of {url} arrived: name, network, TLS or server; no header can help",
    ),
}
