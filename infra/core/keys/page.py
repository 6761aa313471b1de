"""Config keys, The page: how the frontend's files are served."""

from __future__ import annotations

from infra.core import csp, rules
from infra.core.keys.key import Effect, Key, on_every_cloud

REFERRER_POLICIES = (
    "no-referrer",
    "no-referrer-when-downgrade",
    "origin",
    "origin-when-cross-origin",
    "same-origin",
    "strict-origin",
    "strict-origin-when-cross-origin",
    "unsafe-url",
)

KEYS = (
    Key(
        name="connect_src",
        type="array",
        default=(),
        item_rule=csp.connect_source,
        rule=csp.connect_sources,
        effects=on_every_cloud(Effect.CONFIG),
        contract="page.connect_src",
        description=(
            "Servers that the page may call next to the backend, e.g. https://api.stripe.com, "
            "wss://live.example.com, https://*.ingest.sentry.io, or a scheme (https:). Any other "
            "call is refused by the browser (Content-Security-Policy: connect-src)."
        ),
    ),
    Key(
        name="csp",
        type="string",
        default="",
        may_be_empty=True,
        rule=csp.directives,
        effects=on_every_cloud(Effect.CONFIG),
        contract="page.csp",
        description=(
            "Further directives of the page's Content-Security-Policy, e.g. \"default-src 'self'; "
            "img-src 'self' data:\". connect-src and frame-ancestors have keys of their own, so "
            "that the backend is always in the policy. Empty: scripts, styles and images come "
            "from anywhere, because the kit does not know your build."
        ),
    ),
    Key(
        name="frame_ancestors",
        type="array",
        default=(csp.SELF,),
        item_rule=csp.frame_source,
        rule=csp.frame_sources,
        effects=on_every_cloud(Effect.CONFIG),
        contract="page.frame_ancestors",
        description=(
            "Whose pages may show this one in a frame: 'self', 'none', origins such as "
            "https://cms.example.com, or * for everyone. The default is the page's own host, "
            "because a site that frames a page can make visitors click in it (clickjacking)."
        ),
    ),
    Key(
        name="referrer_policy",
        type="string",
        default="strict-origin-when-cross-origin",
        rule=rules.one_of(*REFERRER_POLICIES),
        effects=on_every_cloud(Effect.CONFIG),
        contract="page.referrer_policy",
        description=(
            "What other hosts learn of the page's address (Referrer-Policy). The default gives "
            "them the origin, never the path and query, which may hold tokens. no-referrer and "
            "same-origin make forms that are sent to the backend arrive with `Origin: null`, which "
            "Django's CSRF check denies."
        ),
    ),
    Key(
        name="single_page",
        type="boolean",
        default=True,
        effects=on_every_cloud(Effect.CONFIG),
        contract="page.single_page",
        description=(
            "index.html answers every address without a file, which its own code shows as a view. "
            "false for a site that has a file for each address (a Next.js export, Astro): others "
            "are a 404, with the site's 404.html."
        ),
    ),
    Key(
        name="source_maps",
        type="boolean",
        default=False,
        effects=on_every_cloud(Effect.CONFIG),
        contract="page.source_maps",
        description=(
            "Serve the page's source maps (.js.map, .css.map), which show its source code to "
            "everybody."
        ),
    ),
)
