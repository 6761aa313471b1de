"""docs/page.md: the fields of config.json, and each framework's recipe, run by Node.

The Node is the one that Playwright's package brings: CI has no other. Frameworks are stood in for
by a few lines each (STAND_INS), which keep what a recipe hands to them.
"""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
from pathlib import Path

import playwright
import pytest
import yaml

from infra.core.contract import Contract
from infra.core.csp import directives
from infra.core.keys import KEYS
from infra.core.stackfile import as_text
from rollout.render.moving import config_text, page_maps
from tests.support.folders import write_files
from tests.support.kit import ROOT
from tests.test_render import load

PAGE = (ROOT / "docs" / "page.md").read_text()
NODE = Path(playwright.__file__).parent / "driver" / "node"
BLOCK = re.compile(r"^## ([^\n]+)$|^```(?:js|ts)\n// (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHARED = "One module for every framework"

# A browser's `fetch`, and what it was asked for; config.json can be missing once.
BROWSER = """
import { registerHooks } from "node:module";

export const asked = [];
export const broken = { config: false };
globalThis.fetch = async (url, options = {}) => {
  asked.push([url, options.credentials ?? null]);
  if (url === "/config.json" && broken.config) return { ok: false, status: 502 };
  const body = url === "/config.json"
    ? { backend: "http://api.test", credentials: true }
    : { products: ["kettle"] };
  return { ok: true, status: 200, json: async () => body };
};
registerHooks({
  load(url, context, next) {
    if (!url.endsWith(".vue")) return next(url, context);
    return { format: "module", source: "export default 'App'", shortCircuit: true };
  },
});
"""
STAND_INS = {
    "axios": """
export const interceptors = [];
const use = (interceptor) => interceptors.push(interceptor);
export default { create: () => ({ interceptors: { request: { use } } }) };
""",
    "react": """
export const states = [];
export const useState = (first) => {
  states.push(first);
  return [first, (next) => states.push(next)];
};
export const effects = [];
export const useEffect = (effect) => effects.push(effect);
""",
    "vue": """
export const calls = [];
export const createApp = (app) => ({
  provide: (name, value) => calls.push(["provide", name, value]),
  mount: (where) => calls.push(["mount", app, where]),
});
""",
    "@angular/core": "export const provideAppInitializer = (start) => ({ start });",
    "@angular/common/http": """
export const withInterceptors = (interceptors) => ({ interceptors });
export const provideHttpClient = (feature) => feature;
""",
}
PACKAGE = """
{"type": "module", "exports": {".": "./index.js", "./http": "./http/index.js"}}
"""
CONFIG, PRODUCTS = ["/config.json", None], ["http://api.test/api/products/", "include"]

# By recipe: what a page does with it, and what has to come of that.
RECIPES: dict[str, tuple[str, object]] = {
    SHARED: (
        """
        const { api, loadConfig } = await import("./src/backend.js");
        broken.config = true;
        const failed = await api("/api/products/").catch((error) => error.message);
        broken.config = false;
        await Promise.all([api("/api/products/"), loadConfig()]);
        await api("/api/products/", { credentials: "omit" });
        await import("./src/http.js");
        const { interceptors } = await import("axios");
        print([failed, asked, await interceptors[0]({ url: "/api/me/" })]);
        """,
        [
            "/config.json answered 502",
            [CONFIG, CONFIG, PRODUCTS, ["http://api.test/api/products/", "omit"]],
            {"url": "/api/me/", "baseURL": "http://api.test", "withCredentials": True},
        ],
    ),
    "Vite": (
        'const { products } = await import("./src/main.js"); print([asked, products]);',
        [[CONFIG, PRODUCTS], ["kettle"]],
    ),
    "Next export": (
        """
        const { useApi } = await import("./src/use-api.js");
        const { effects, states } = await import("react");
        const before = useApi("/api/products/");
        const atBuildTime = [...asked];
        effects.forEach((effect) => effect());
        while (states.length < 2) await new Promise((resolve) => setImmediate(resolve));
        print([before, atBuildTime, asked, states[1]]);
        """,
        [
            {"data": None, "error": None},
            [],
            [CONFIG, PRODUCTS],
            {"data": {"products": ["kettle"]}, "error": None},
        ],
    ),
    "Angular": (
        """
        const { appConfig } = await import("./src/app/app.config.ts");
        const [http, start] = appConfig.providers;
        await start.start();
        const sent = ["/api/products/", "/assets/logo.svg"].map((url) =>
          http.interceptors[0]({ url, clone: (more) => ({ url, ...more }) }, (request) => request));
        print([asked, sent.map(({ url, withCredentials }) => [url, withCredentials ?? null])]);
        """,
        [[CONFIG], [["http://api.test/api/products/", True], ["/assets/logo.svg", None]]],
    ),
    "Vue": (
        """
        await import("./src/main.js");
        const { calls } = await import("vue");
        print([asked, calls]);
        """,
        [
            [CONFIG],
            [
                ["provide", "config", {"backend": "http://api.test", "credentials": True}],
                ["mount", "App", "#app"],
            ],
        ],
    ),
}


def recipes() -> dict[str, dict[str, str]]:
    """The files of each section of docs/page.md, by the comment that names them."""
    found: dict[str, dict[str, str]] = {}
    section = ""
    for heading, name, code in BLOCK.findall(PAGE):
        section = heading or section
        if name:
            found.setdefault(section, {})[name] = code
    return found


def test_every_recipe_of_the_page_is_run() -> None:
    assert set(recipes()) == set(RECIPES)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_calls_the_backend(recipe: str, tmp_path: Path) -> None:
    """It asks config.json once, at run time, and the backend that stands there."""
    script, expected = RECIPES[recipe]
    write_files(tmp_path, {"package.json": '{"type": "module"}', "browser.mjs": BROWSER})
    write_files(tmp_path, {"src/App.vue": "<template>the page</template>"})
    for name, text in STAND_INS.items():
        package = name.removesuffix("/http")
        write_files(tmp_path, {f"node_modules/{package}/package.json": PACKAGE})
        write_files(tmp_path, {f"node_modules/{name}/index.js": text})
    write_files(tmp_path, recipes()[SHARED] | recipes()[recipe])
    start = (
        'import { asked, broken } from "./browser.mjs";\n'
        "const print = (value) => console.log(JSON.stringify(value));\n"
    )
    write_files(tmp_path, {"run.mjs": start + script})
    done = subprocess.run(
        [NODE, "run.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected


def led_on(contract: Contract) -> dict[str, str | bool]:
    """What config.json holds at a former origin whose visitors are led to the new one."""
    frontend = dataclasses.replace(contract.frontend, redirects_former=True)
    text = page_maps(dataclasses.replace(contract, frontend=frontend))
    fields: dict[str, str | bool] = {}
    for answer in re.findall(r"'(\{.*\})'", text):
        fields |= json.loads(answer)
    return fields


def test_every_field_of_config_json_is_documented() -> None:
    """Each with its type; and nothing else is."""
    section = PAGE.split("## config.json")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", section, re.MULTILINE))
    kinds = {str: "text", bool: "boolean"}
    fields = json.loads(config_text(load("local-ip")))
    served = fields | led_on(load("https-moving"))
    assert rows == {name: kinds[type(value)] for name, value in served.items()}
    example = json.loads(section.split("```json")[1].split("```")[0])
    assert list(example) == list(fields)


def test_the_config_lines_of_the_page_are_valid() -> None:
    """Each key's value is one that the stack's config takes."""
    text = PAGE.split("```yaml")[1].split("```")[0]
    values = yaml.safe_load(text)
    for name, value in values.items():
        KEYS[name.removeprefix("origin-kit:")].read(as_text(value))
    assert directives(values["origin-kit:csp"]) == values["origin-kit:csp"]
