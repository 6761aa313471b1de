"""The picture in the README: the comment of `fab preview.comment` as a pull request shows it.

python -m tests.support.comment_picture      # writes docs/preview-comment.png
"""

from __future__ import annotations

from datetime import UTC, datetime

from markdown_it import MarkdownIt
from playwright.sync_api import sync_playwright

from rollout.previews import comment
from rollout.previews.comment import Verdict
from rollout.previews.listing import Row
from tests.support.kit import ROOT

PICTURE = ROOT / "docs" / "preview-comment.png"
NOW = datetime(2026, 11, 30, 18, 40, tzinfo=UTC)
HEAD = "github-actions <span>bot</span> commented 2 minutes ago · edited"
PAGE = """<!doctype html><meta charset="utf-8"><style>
body { margin: 0; padding: 12px; width: 760px; background: #fff; color: #1f2328;
       font: 14px/1.5 "Noto Sans", "DejaVu Sans", sans-serif; }
.box { border: 1px solid #d1d9e0; border-radius: 6px; overflow: hidden; }
.head { background: #f6f8fa; border-bottom: 1px solid #d1d9e0; padding: 8px 16px; color: #59636e; }
.head span { border: 1px solid #d1d9e0; border-radius: 10px; padding: 0 6px; font-size: 11px; }
.body { padding: 4px 16px 14px; }
h3 { font-size: 17px; margin: 12px 0 10px; }
table { border-collapse: collapse; }
th:empty { padding: 0; border: 0; }
td { border: 1px solid #d1d9e0; padding: 5px 12px; }
td:first-child { color: #59636e; white-space: nowrap; }
code { background: #eff1f3; border-radius: 5px; padding: 2px 5px;
       font: 12px "DejaVu Sans Mono", monospace; }
a { color: #0969da; }
</style><div class="box"><div class="head">HEAD</div><div class="body">BODY</div></div>"""


def sample() -> str:
    """A comment on a preview that is as wanted."""
    page = "https://shorter-titles-5f1c02aa"
    row = Row(
        name="preview-shorter-titles-5f1c02aa",
        branch="shorter-titles",
        state="up",
        origin=f"{page}.preview.example.com",
        api=f"{page}-api.preview.example.com",
        attached_to="",
        owner="ada",
        commit="a94c1f0e52d7",
        updated="2026-11-30T18:38:00Z",
        expires="2026-12-03T18:38:00Z",
        keep=False,
        cost=47.0,
    )
    verdict = Verdict(0, "works", "works: the session's cookie is kept", "works: writes pass")
    return comment.text(row, verdict, NOW, "Cut titles at 60 characters")


def main() -> None:
    """Write the picture."""
    body = MarkdownIt("commonmark").enable("table").render(sample())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium")
        page = browser.new_page(viewport={"width": 784, "height": 300}, device_scale_factor=1.5)
        page.set_content(PAGE.replace("HEAD", HEAD).replace("BODY", body))
        page.screenshot(path=PICTURE, full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
