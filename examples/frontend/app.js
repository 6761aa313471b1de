// The page of the shop. It knows its backend from config.json, next to it: {"backend": "http://…", "credentials": true|false}.
// With credentials it logs in by a session cookie, without by a token that it keeps in memory. While the environment moves
// to another origin, config.json says in `moved_to` where the page is now.

const $ = (selector) => document.querySelector(selector);
const WITHHELD = "blocked or unreachable: the browser's console says why";
const TOO_LARGE = 11 * 1024 * 1024;
const LOG_LENGTH = 100;
const MOVES_EVERY = 15_000; // ms: `fab move` waits for 30 s without a call of this page

let config;
let token = null; // token mode: what the Authorization header carries
let csrfToken = null; // cookie mode: asked for before the first write, and again after it was refused

// ---- One request ----

/** Ask the backend. Resolves, never rejects, to {kind: "ok" | "http-error" | "blocked", status, body, headers}. */
async function call(method, path, options = {}) {
  const entry = logged(method, path);
  const answer = await ask(method, path, options);
  entry.finish(answer);
  if (answer.status === 403) csrfToken = null;
  if (answer.kind === "blocked") why().then(entry.explain);
  return answer;
}

async function ask(method, path, { body, headers = {} }) {
  const request = {
    method,
    headers: await headersFor(method, headers),
    credentials: config.credentials ? "include" : "omit",
    cache: "no-store",
  };
  if (body !== undefined) request.body = isJson(body) ? JSON.stringify(body) : body;
  if (isJson(body) && !request.headers.has("Content-Type")) request.headers.set("Content-Type", "application/json");
  try {
    return await read(await fetch(config.backend + path, request));
  } catch (error) {
    // fetch says no more than TypeError, on purpose: a page must not find out about servers that don't want it.
    return { kind: "blocked", status: 0, body: `${WITHHELD} (${error.message})`, headers: {} };
  }
}

async function headersFor(method, given) {
  const headers = new Headers(given);
  if (token && !headers.has("Authorization")) headers.set("Authorization", `Token ${token}`);
  const writes = !["GET", "HEAD"].includes(method);
  if (config.credentials && writes && !headers.has("X-CSRFToken")) {
    csrfToken ??= (await call("GET", "/api/csrf/")).body?.csrfToken ?? null;
    if (csrfToken) headers.set("X-CSRFToken", csrfToken);
  }
  return headers;
}

async function read(response) {
  const text = await response.text();
  return {
    kind: response.ok ? "ok" : "http-error",
    status: response.status,
    body: parsed(text),
    headers: Object.fromEntries(response.headers),
  };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

const isJson = (body) => body !== undefined && typeof body !== "string" && !(body instanceof FormData) && !(body instanceof Blob);

// ---- In words ----

/** Whether the backend is there at all: a request whose answer nobody may read arrives even where CORS says no. */
async function why() {
  if (location.protocol === "https:" && config.backend.startsWith("http:")) {
    return "This page came over https and its backend is http: browsers call that mixed content and refuse it.";
  }
  const options = { mode: "no-cors", credentials: "omit", cache: "no-store" };
  const there = await fetch(`${config.backend}/api/health/`, options).then(() => true, () => false);
  return there
    ? `The backend is there, so the browser kept the answer back: ${location.origin} is not among its allowed origins, or this method or header is not allowed.`
    : `Nothing answers at ${config.backend}: is it up, and is that its address?`;
}

function inWords({ kind, status, body }) {
  if (kind === "blocked") return body;
  if (kind === "ok") return summary(body) || "done";
  const said = body?.error ? [body.error, ...fieldErrors(body.fields)].join(" ") : title(body);
  return `an answer that the page can read, and an error: ${said || "no words"}`;
}

const fieldErrors = (fields = {}) => Object.entries(fields).map(([name, words]) => `${name}: ${[].concat(words).join(" ")}`);

/** What an HTML page of errors says in its title; nothing else in it is for people. */
function title(body) {
  if (typeof body !== "string") return summary(body);
  return new DOMParser().parseFromString(body, "text/html").title.trim().replace(/\s+/g, " ") || body.slice(0, 120);
}

function summary(body) {
  if (Array.isArray(body?.products)) return `${body.products.length} products`;
  if (body?.token) return `a token for ${body.username}`;
  if (body?.csrfToken) return "a CSRF token";
  return body ? JSON.stringify(body).slice(0, 160) : "";
}

function show(kind, words) {
  $("#status").dataset.kind = kind;
  $("#status").textContent = words;
}

/** Show the outcome; the words for success are the caller's. Returns whether it was one. */
function reported(answer, success) {
  const words = {
    ok: success,
    "http-error": `${config.backend} answered ${answer.status}: ${inWords(answer)}`,
    blocked: `${config.backend} is ${WITHHELD}.`,
  };
  show(answer.kind, words[answer.kind]);
  return answer.kind === "ok";
}

// ---- The log ----

function element(name, text, properties = {}) {
  return Object.assign(document.createElement(name), { textContent: text, ...properties });
}

/** A new line in the log, to be finished once there is an answer. */
function logged(method, path) {
  const [line, verdict, words] = [element("li", ""), element("b", "…"), element("p", "waiting")];
  const started = performance.now();
  line.append(verdict, element("code", `${method} ${path}`), words);
  $("#log").prepend(line);
  while ($("#log").children.length > LOG_LENGTH) $("#log").lastChild.remove();
  return {
    finish(answer) {
      Object.assign(line.dataset, { kind: answer.kind, status: answer.status });
      verdict.textContent = answer.status || "blocked";
      words.textContent = `${inWords(answer)} · ${Math.round(performance.now() - started)} ms`;
    },
    explain: (reason) => line.append(element("p", reason)),
  };
}

// ---- Products ----

async function showProducts() {
  const answer = await call("GET", "/api/products/");
  if (!reported(answer, `${location.origin} reads ${config.backend}: the browser allows it.`)) return;
  if (!Array.isArray(answer.body?.products)) return show("http-error", `What answers at ${config.backend} is not this shop.`);
  $("#products").replaceChildren(...answer.body.products.map(productLine));
}

function productLine(product) {
  const line = element("li", "");
  const remove = element("button", "Remove", { type: "button", className: "small" });
  remove.addEventListener("click", () => busy(remove, () => change("DELETE", `/api/products/${product.id}/`)));
  line.append(
    element("span", product.name, { className: "name" }),
    element("span", `€ ${product.price}`, { className: "price" }),
    element("span", `${product.stock} in stock`, { className: "stock" }),
    remove,
  );
  return line;
}

/** Write, then show what is there now. */
async function change(method, path, body) {
  const answer = await call(method, path, { body });
  if (answer.kind === "ok") await showProducts();
  else reported(answer);
  return answer.kind === "ok";
}

// ---- Who ----

function showUser(name) {
  $("#whoami").textContent = name ? `logged in as ${name}` : "nobody yet";
  $("#login-form").hidden = Boolean(name);
  $("#logout").hidden = !name;
}

async function whoAmI() {
  if (!config.credentials) return showUser(null); // a token in memory is gone with the page
  const answer = await call("GET", "/api/me/");
  showUser(answer.kind === "ok" ? answer.body.username : null);
}

async function logIn(form) {
  const answer = await call("POST", config.credentials ? "/api/login/" : "/api/token/", { body: fields(form) });
  if (!reported(answer, `Welcome, ${answer.body?.username}.`)) return;
  token = answer.body.token ?? null;
  csrfToken = null; // Django makes a new one at every login
  form.reset();
  showUser(answer.body.username);
}

async function logOut() {
  const answer = await (config.credentials ? call("POST", "/api/logout/") : call("DELETE", "/api/token/"));
  if (!reported(answer, "Logged out.") && answer.status !== 401) return;
  token = csrfToken = null;
  showUser(null);
}

const fields = (form) => Object.fromEntries(new FormData(form));

// ---- Things to try ----

const tries = {
  error: () => call("GET", "/api/error"),
  missing: () => call("GET", "/api/nothing-here/"),
  slow: () => call("GET", "/api/slow/?seconds=3"),
  cart: () => call("GET", "/api/health/", { headers: { "X-Cart": "7" } }),
  other: () => call("GET", "/api/health/", { headers: { "X-Other": "7" } }),
  large: () => call("POST", "/api/photos/", { body: largePhoto() }),
};

function largePhoto() {
  const form = new FormData();
  form.append("file", new Blob([new Uint8Array(TOO_LARGE)]), "large.png");
  return form;
}

async function attempt(name) {
  const answer = await tries[name]();
  const seen = answer.headers["x-cart-seen"];
  const cart = seen ? `The backend saw X-Cart: ${seen}, and the page may read that it did.` : "The answer's X-Cart-Seen is not exposed to the page.";
  reported(answer, name === "cart" ? cart : `${config.backend} answered ${answer.status}.`);
}

// ---- Start ----

async function busy(button, work) {
  button.disabled = true;
  try {
    await work();
  } finally {
    button.disabled = false;
  }
}

function onSubmit(selector, work) {
  $(selector).addEventListener("submit", (event) => {
    event.preventDefault();
    busy(event.target.querySelector("[type=submit]"), () => work(event.target));
  });
}

function connect(started) {
  onSubmit("#login-form", (form) => started.then(() => logIn(form)));
  onSubmit("#product-form", async (form) => (await change("POST", "/api/products/", fields(form))) && form.reset());
  onSubmit("#photo-form", async (form) => {
    const answer = await call("POST", "/api/photos/", { body: new FormData(form) });
    if (reported(answer, `The photo is at ${answer.body?.url}`)) form.reset();
  });
  $("#logout").addEventListener("click", (event) => busy(event.target, logOut));
  for (const button of document.querySelectorAll("[data-try]")) {
    button.addEventListener("click", () => busy(button, () => attempt(button.dataset.try)));
  }
  // Until here a form would have sent itself, password and all, to the address of this page.
  for (const button of document.querySelectorAll("button")) button.disabled = false;
}

/** {backend, credentials}. Throws an Error that says what is wrong with config.json. */
async function loadConfig() {
  const response = await fetch("config.json", { cache: "no-store" });
  if (!response.ok) throw new Error(`it answered ${response.status}`);
  const { backend, credentials } = await response.json();
  if (typeof backend !== "string" || typeof credentials !== "boolean") throw new Error("it lacks backend or credentials");
  return { backend: backend.replace(/\/$/, ""), credentials };
}

/** Go to the page's new origin, where there is one. Without an answer it stays, and asks again later. */
async function follow() {
  const answer = await fetch("config.json", { cache: "no-store" }).catch(() => null);
  const { moved_to: target } = (await answer?.json().catch(() => null)) ?? {};
  if (target) location.replace(target + location.pathname + location.search + location.hash);
}

async function start() {
  $("#origin").textContent = location.origin;
  try {
    config = await loadConfig();
  } catch (error) {
    show("blocked", `config.json cannot be read (${error.message}). Put it next to this page: {"backend": "http://127.0.0.1:8000", "credentials": false}`);
    return;
  }
  $("#backend").textContent = config.backend;
  $("#mode").textContent = config.credentials ? "by a session cookie" : "by a token, which this tab alone knows";
  connect(Promise.all([whoAmI(), showProducts()]));
  setInterval(follow, MOVES_EVERY);
  window.shop = { call };
}

start();
