"""Platforms that name each branch's page right below a public suffix: which of those names belong
to one owner, and what to write. Pure.

Netlify: `BRANCH--SITE.netlify.app` and `deploy-preview-N--SITE.netlify.app`. Two hyphens end the
branch; the name of a site has no such pair.
Cloud Run: `TAG---SERVICE-PROJECT_NUMBER.REGION.run.app` and the older
`TAG---SERVICE-HASH-RR.a.run.app`; number and hash are the project's own.
Vercel: `PROJECT-git-BRANCH-SCOPE.vercel.app`, a name that any account may take for its project.
Cloudflare Pages and Amplify: `BRANCH.PROJECT.pages.dev`, an ordinary pattern.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from infra.core.origins.suffixes import is_registry

_OWN_DOMAIN = "give previews names below a domain of your own, like https://{}.preview.example.com"
_SERVICE = "[a-z](?:[a-z0-9-]*[a-z0-9])?"


@dataclass(frozen=True)
class _Owned:
    """Names that end in something which one owner has.

    `base` and `end` are patterns: of the public suffix, and of what follows the placeholder in the
    label. `example` is a pattern of origins that the platform makes, `{}` for the placeholder.
    """

    base: str
    end: str
    example: str


_OWNED = (
    _Owned(r"netlify\.app", "--[a-z0-9]+(?:-[a-z0-9]+)*", "https://{}--my-shop.netlify.app"),
    _Owned(
        r"[a-z]+-[a-z]+[0-9]+\.run\.app",
        rf"---{_SERVICE}-[0-9]{{6,}}",
        "https://{}---my-shop-123456789012.europe-west1.run.app",
    ),
    _Owned(
        r"a\.run\.app",
        rf"---{_SERVICE}-[a-z0-9]{{10}}-[a-z]{{2}}",
        "https://{}---my-shop-abcdefghij-ew.a.run.app",
    ),
)
_OWN_LABEL = ("pages.dev", "amplifyapp.com")
_ANYONES = {
    "vercel.app": "https://my-shop-git-main-my-team.vercel.app",
    "now.sh": "https://my-shop-git-main-my-team.now.sh",
}


def is_owned(end: str, base: str) -> bool:
    """Whether names below the public suffix `base` whose first label ends in `end` have one
    owner."""
    for platform in _OWNED:
        if re.fullmatch(platform.base, base) and re.fullmatch(platform.end, end):
            return True
    return False


def cure(name: str, base: str) -> str:
    """What to write in place of a pattern with the placeholder `name` right below the public suffix
    `base`: names that can exist there."""
    for platform in _OWNED:
        if re.fullmatch(platform.base, base):
            return f"end the label in what is yours alone, like {platform.example.format(name)}"
    own_domain = _OWN_DOMAIN.format(name)
    if base in _ANYONES:
        return f"list each in extra_origins, like {_ANYONES[base]}, or {own_domain}"
    if base in _OWN_LABEL or is_registry(base):
        return f"put a label of your own between, like https://{name}.shop.{base}"
    return f"list each origin in extra_origins, or {own_domain}"
