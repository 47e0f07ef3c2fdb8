#!/usr/bin/env node
// Drives Debian's Chromium through the console of two sandboxes, as each kind of operator uses it.
//
//   tests/console/run.mjs [BINARY]      default: target/debug/idgate
//
// Fails on a console error, a violation of the pages' policy, an accessibility violation (axe-core), a page over 100 KB,
// a request to elsewhere, and on a name or number in an address, a cookie, the gateway's log or any file of the browser.
// Screenshots of every page, light and dark, wide and narrow, are below target/console/pages/. Needs chromium, node and
// npm; what package-lock.json pins is installed below target/console/. All traffic is on loopback.

import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
const PROJECT = resolve(HERE, "../..");
const BINARY = resolve(process.argv[2] ?? join(PROJECT, "target/debug/idgate"));
const TARGET = join(PROJECT, "target/console");
const PAGES = join(TARGET, "pages");
const MOST_BYTES = 100 * 1024;
const PATIENCE = 20_000;
/// Everything together. What hangs has failed.
const WHOLE = 240_000;

const failures = [];
const check = (holds, what) => {
  if (!holds) failures.push(what);
};

function install() {
  const lock = join(HERE, "package-lock.json");
  const mark = createHash("sha256").update(readFileSync(lock)).digest("hex");
  const folder = join(TARGET, "npm");
  const done = join(folder, "installed");
  if (!existsSync(done) || readFileSync(done, "utf8") !== mark) {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    for (const file of ["package.json", "package-lock.json"]) copyFileSync(join(HERE, file), join(folder, file));
    const options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", folder];
    const run = spawnSync("npm", options, { stdio: "inherit", timeout: 300_000 });
    if (run.status !== 0) throw new Error("npm ci has failed");
    writeFileSync(done, mark);
  }
  const require = createRequire(join(folder, "package.json"));
  return { chromium: require("playwright-core").chromium, axe: readFileSync(require.resolve("axe-core/axe.min.js"), "utf8") };
}

const freePort = () =>
  new Promise((found) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => found(port));
    });
  });

async function sandbox(toml) {
  const [port, admin] = [await freePort(), await freePort()];
  const options = ["sandbox", "--listen", `${port}`, "--admin-listen", `${admin}`];
  if (toml) {
    const file = join(mkdtempSync(join(tmpdir(), "idgate-console-")), "idgate.toml");
    writeFileSync(file, toml);
    options.unshift("--config", file);
  }
  const child = spawn(BINARY, options, { stdio: ["ignore", "pipe", "pipe"] });
  const gateway = { child, log: "", url: `http://127.0.0.1:${port}`, admin: `http://127.0.0.1:${admin}` };
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (gateway.log += text));
  const end = Date.now() + PATIENCE;
  while (!(await fetch(`${gateway.admin}/readyz`).then((answer) => answer.ok, () => false))) {
    if (Date.now() > end || child.exitCode !== null) throw new Error(`the sandbox does not start:\n${gateway.log}`);
    await new Promise((soon) => setTimeout(soon, 50));
  }
  return gateway;
}

async function ask(gateway, body, headers = {}) {
  const options = { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) };
  return fetch(`${gateway.url}/v1/verify`, options);
}

/// A browser context whose every page is watched.
async function watched(browser, gateway, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.on("console", (message) => {
    // A refusal that a test provokes is told as an error too.
    const isTold = message.text().startsWith("Failed to load resource");
    if (["error", "warning"].includes(message.type()) && !isTold) failures.push(`${page.url()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => failures.push(`${page.url()}: ${error}`));
  page.on("request", (request) => {
    check(request.url().replace("blob:", "").startsWith(gateway.admin), `a request to elsewhere: ${request.url()}`);
    page.addresses.push(request.url());
  });
  page.on("response", (response) => {
    const type = response.headers()["content-type"] ?? "";
    check(!type.includes(",") && !type.includes("text/plain"), `${response.url()} is ${type}`);
    if (!type.startsWith("text/html") && !type.startsWith("text/css") && !type.startsWith("text/javascript")) return;
    const bytes = Number(response.headers()["content-length"] ?? Infinity);
    if (response.status() === 304) return;
    page.largest = Math.max(page.largest, bytes);
    check(bytes <= MOST_BYTES, `${response.url()} has ${bytes} bytes`);
  });
  page.addresses = [];
  page.largest = 0;
  return page;
}

/// Looks at a page as it stands: accessibility and screenshots.
async function look(page, axe, name) {
  await page.waitForLoadState("load");
  for (const scheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: scheme });
    await page.screenshot({ path: join(PAGES, `${name}-${scheme}.png`), fullPage: true });
    // Evaluated by the debugger, so that the page's own policy stays as it is.
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
    for (const { id, help, nodes } of violations) {
      failures.push(`${name} (${scheme}): ${id}: ${help}: ${nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`);
    }
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 360, height: 740 });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  check(wide <= 0, `${name}: a narrow window has to be scrolled sideways by ${wide} pixels`);
  await page.screenshot({ path: join(PAGES, `${name}-narrow.png`), fullPage: true });
  await page.setViewportSize({ width: 1280, height: 800 });
}

const heading = (page) => page.locator("h1").innerText();
const to = (page, name) => page.getByRole("navigation").getByRole("link", { name, exact: true }).click();

async function inTheSandbox(browser, axe) {
  const gateway = await sandbox();
  try {
    const people = await fetch(`${gateway.admin}/sandbox/people`).then((answer) => answer.json());
    for (const { name, id_number } of [...people, ...people.slice(0, 8)]) await ask(gateway, { name, id_number });
    await ask(gateway, { name: "李四", id_number: people[0].id_number, reference: "payout-1" });
    await ask(gateway, { name: people[0].name, id_number: "110105194912310021" });

    const page = await watched(browser, gateway, { permissions: ["clipboard-read", "clipboard-write"] });
    await page.goto(`${gateway.admin}/console`);
    await look(page, axe, "sign-in-sandbox");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await page.waitForURL("**/console/");
    check((await heading(page)) === "Overview", "one click signs in");
    await look(page, axe, "overview");
    await page.keyboard.press("Tab");
    check((await page.evaluate(() => document.activeElement.className)) === "skip", "the first stop is the skip link");

    // A question, a fault, the same question answered elsewhere, the fault mended.
    await to(page, "Ask");
    await look(page, axe, "ask");
    const question = page.getByRole("form", { name: "A question" });
    const put = async (name, number) => {
      await question.getByLabel("Name").fill(name);
      await question.getByLabel("ID number").fill(number);
      await question.getByLabel("Ask a provider").check();
      await question.getByRole("button", { name: "Ask" }).click();
      await page.waitForLoadState("load");
    };
    await question.getByLabel("What the number says").check();
    await put("张测试", "110101199003079972");
    check((await page.locator(".verdict").innerText()) === "match", "a question is answered");
    check((await page.locator("#line").innerText()).includes("curl -s"), "the same with curl");
    await page.getByRole("button", { name: "Copy" }).click();
    await look(page, axe, "ask-answered");
    const first = await page.locator(".facts dd").first().innerText();
    await page.locator(`#fault-${first}`).selectOption("answers 500");
    await page.getByRole("button", { name: `Set for ${first}`, exact: true }).click();
    await page.waitForURL("**/console/ask#faults");
    check((await page.locator(".faults").innerText()).includes(`${first} now: status`), "the fault that is set is shown");
    for (const { name, id_number } of people.slice(3, 18)) await ask(gateway, { name, id_number }, { "cache-control": "no-cache" });
    await put("张测试", "110101199003079972");
    check((await page.locator(".verdict").innerText()) === "match", "another provider answers");
    check((await page.locator(".facts dd").first().innerText()) !== first, "the one with a fault does not");
    await look(page, axe, "ask-with-fault");
    await to(page, "Providers");
    check((await page.locator("body").innerText()).includes("open"), "a breaker is open");
    await look(page, axe, "providers-broken");
    await to(page, "Overview");
    check((await page.locator(".matters").innerText()).includes("breaker"), "the breaker needs attention");
    await look(page, axe, "overview-attention");
    await to(page, "Ask");
    await page.locator(`#fault-${first}`).selectOption("");
    await page.getByRole("button", { name: `Set for ${first}`, exact: true }).click();
    await put("张测试", "11010119900307997X");
    check((await page.locator(".verdict").innerText()).includes("invalid id number"), "a wrong number is explained");
    await look(page, axe, "ask-refused");

    // Isolate and restore.
    await to(page, "Providers");
    const card = page.locator("section").filter({ has: page.locator(`#provider-${first}`) });
    await card.getByText("Isolate or restore").click();
    await card.getByLabel("Reason").first().fill("ticket 4711");
    await card.getByLabel("Until").fill("2h");
    page.once("dialog", (dialog) => dialog.accept());
    await card.getByRole("button", { name: `Isolate ${first}`, exact: true }).click();
    await page.locator(`#provider-${first}`).getByText("isolated").waitFor();
    check((await card.innerText()).includes("ticket 4711"), "the reason is shown");
    await look(page, axe, "providers-isolated");
    await card.getByRole("button", { name: `Restore ${first}`, exact: true }).click();
    await page.locator(`#provider-${first}`).getByText("available").waitFor();

    // By person, by reference, by id; a receipt; an export.
    await to(page, "Answers");
    await look(page, axe, "answers");
    await page.getByLabel("Name").fill("张测试");
    await page.getByLabel("ID number").fill("110101199003079972");
    await page.getByRole("button", { name: "Find" }).click();
    await page.locator("#found").waitFor();
    check((await page.locator("tbody tr").count()) >= 3, "a person's answers are found");
    await look(page, axe, "answers-found");
    const exported = page.waitForEvent("download");
    await page.getByRole("button", { name: "Export as CSV" }).click();
    const csv = readFileSync(await (await exported).path(), "utf8");
    const told = page.locator("form[data-export] output");
    await told.getByText("saved").waitFor();
    check((await told.innerText()) === `${csv.trim().split("\n").length - 1} rows, saved`, "the export tells how far it is");
    check(csv.startsWith("verification_id,") && csv.trim().split("\n").length >= 4, "the export has the rows");
    check(!csv.includes("110101199003079972") && !csv.includes("张测试"), "the export has no person");
    await page.locator("tbody a").last().click();
    await page.waitForURL("**/console/answers/*-*");
    check((await heading(page)) === "Answer", "one answer is shown");
    await page.getByText("Seal", { exact: true }).click();
    check(/--expect \d+=[0-9a-f]{64}$/.test(await page.locator("#seal").innerText()), "the seal is shown");
    await look(page, axe, "answer");
    const receipt = page.waitForEvent("download");
    await page.getByRole("link", { name: "Download the receipt" }).click();
    const jws = readFileSync(await (await receipt).path(), "utf8");
    check(jws.split(".").length === 3, "a receipt has three parts");
    await to(page, "Answers");
    await page.getByLabel("The caller’s reference").fill("payout-1");
    await page.getByRole("button", { name: "Find" }).click();
    check((await page.locator("#found").innerText()).startsWith("1 answer"), "a reference is found");

    for (const name of ["Money", "Clients", "Changes"]) {
      await to(page, name);
      check((await heading(page)) === name, `${name} is shown`);
      await look(page, axe, name.toLowerCase());
    }
    // A provider's export of which no call is ours, and which lacks all that are.
    await to(page, "Money");
    const now = new Date().toISOString();
    const usage = `request_id,time,amount\nunknown-1,${new Date(Date.now() - 3_600_000).toISOString()},0.30\nunknown-2,${now},0.30\n`;
    const choose = async () => {
      await page.locator("#provider").selectOption(first);
      await page.getByLabel("Usage export").setInputFiles({ name: "usage.csv", mimeType: "text/csv", buffer: Buffer.from(usage) });
    };
    await choose();
    const differences = page.waitForEvent("download");
    await page.getByRole("button", { name: "Compare and download all differences" }).click();
    const file = readFileSync(await (await differences).path(), "utf8");
    check(file.startsWith("class,") && file.includes("no_row") && file.split("no_call").length === 3, `the file has every difference: ${file}`);
    await choose();
    await page.getByRole("button", { name: "Compare", exact: true }).click();
    await page.locator("#differences").waitFor();
    check((await page.locator("main").innerText()).includes("it does not balance"), "a difference is told");
    await look(page, axe, "reconciliation");
    await to(page, "Changes");
    await page.getByLabel("Action").selectOption("isolate");
    await page.getByRole("button", { name: "Find" }).click();
    const changes = (await page.locator("tbody").allInnerTexts()).join();
    check(changes.includes("isolate") && !changes.includes("sign in"), `what was isolated is told: ${changes}`);

    // No name or number where they would stay.
    const cookies = JSON.stringify(await page.context().cookies());
    const stays = [page.addresses.join("\n"), cookies, gateway.log.replace(/^ask .*$/m, "")].join("\n");
    for (const { name, id_number } of people) {
      for (const word of [name, encodeURIComponent(name), id_number]) check(!stays.includes(word), `${word} stays somewhere`);
    }
    for (const cookie of await page.context().cookies()) {
      check(cookie.httpOnly && cookie.sameSite === "Strict", `the cookie ${cookie.name} is for this site's requests only`);
    }

    // Reading works without the script.
    const plain = await watched(browser, gateway, { javaScriptEnabled: false });
    await plain.goto(`${gateway.admin}/console/sign-in`);
    await plain.getByRole("button", { name: "Sign in" }).click();
    for (const name of ["Ask", "Providers", "Answers", "Money", "Clients", "Changes", "Overview"]) {
      await to(plain, name);
      check((await heading(plain)) === name, `without a script: ${name}`);
    }
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.waitForURL("**/console/sign-in");
    await page.goto(`${gateway.admin}/console/providers`);
    check((await heading(page)) === "Sign in", "after signing out, a page asks to sign in");
    return Math.max(page.largest, plain.largest);
  } finally {
    gateway.child.kill("SIGTERM");
  }
}

/// The gateway's counters of questions and calls.
async function verifications(gateway) {
  const text = await fetch(`${gateway.admin}/metrics`).then((answer) => answer.text());
  return text.split("\n").filter((line) => /^idgate_(attempts|verdicts)_total/.test(line)).join();
}

/// What a browser keeps in its profile after somebody has asked about persons and looked for them, in every way that
/// ends otherwise, and has signed out. The files of the tabs that it would open again are among it.
async function inTheProfile() {
  const profile = mkdtempSync(join(tmpdir(), "idgate-profile-"));
  const gateway = await sandbox();
  const [name, number, wrong] = ["欧阳留痕", "110101199003079972", "110101199003079973"];
  try {
    const context = await chromium.launchPersistentContext(profile, { ...LAUNCH, acceptDownloads: true });
    const titles = [];
    const tab = async () => {
      const page = await context.newPage();
      page.setDefaultTimeout(PATIENCE);
      page.on("framenavigated", (frame) => titles.push(frame.url()));
      return page;
    };
    const fill = async (page, place, id) => {
      await to(page, place);
      await page.getByLabel("Name", { exact: true }).fill(name);
      await page.getByLabel("ID number").fill(id);
    };
    const send = (page, button) => page.getByRole("button", { name: button, exact: true }).first().click();
    const page = await tab();
    await page.goto(`${gateway.admin}/console/sign-in`);
    await page.getByRole("button", { name: "Sign in" }).click();
    for (const [place, button, told] of [["Ask", "Ask", ".verdict"], ["Answers", "Find", "#found"]]) {
      for (const id of [number, wrong]) {
        await fill(page, place, id);
        await send(page, button);
        await page.locator(id === wrong ? "[role=alert]" : told).waitFor();
        titles.push(await page.title(), page.url());
        const asked = await verifications(gateway);
        await page.reload();
        await page.locator(id === wrong ? "[role=alert]" : told).waitFor();
        check((await verifications(gateway)) === asked, `a reload of ${place} asks nobody`);
      }
    }
    await page.goBack();
    await page.goForward();
    // Typed and not sent: in a tab that goes on, in one that is left, and in one that finds its session ended.
    await fill(page, "Ask", number);
    const [left, late] = [await tab(), await tab()];
    for (const one of [left, late]) {
      await one.goto(`${gateway.admin}/console/`);
      await fill(one, one === left ? "Answers" : "Ask", number);
    }
    const stored = await page.evaluate(() => localStorage.length + sessionStorage.length);
    check(stored === 0, `the pages store ${stored} things`);
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.waitForURL("**/console/sign-in");
    await send(late, "Ask");
    await late.waitForURL("**/console/not-done/401");
    for (const word of [name, encodeURIComponent(name), number, wrong]) {
      check(!titles.join().includes(word), `${word} is in a title or an address`);
    }
    await context.close();
    const words = [name, encodeURIComponent(name), number, wrong].flatMap((word) => [Buffer.from(word), Buffer.from(word, "utf16le")]);
    const files = readdirSync(profile, { recursive: true, withFileTypes: true }).filter((file) => file.isFile());
    for (const file of files) {
      const bytes = readFileSync(join(file.parentPath, file.name));
      for (const word of words) check(!bytes.includes(word), `${file.name} of the browser's profile has a person`);
    }
    const looked = (kind, text) =>
      files.some((file) => file.name.startsWith(kind) && readFileSync(join(file.parentPath, file.name)).includes(text));
    check(looked("History", "/console/answers"), "the browser's history has been looked at");
    check(looked("Session_", "/console/answers/found/"), "the browser's tabs have been looked at");
  } finally {
    gateway.child.kill("SIGTERM");
    rmSync(profile, { recursive: true, force: true });
  }
  return 0;
}

const key = (name) => `idg_synthetic-${name}`;
const hash = (name) => createHash("sha256").update(key(name)).digest("hex");
const operator = (name, roles) =>
  `[operators.${name}]\nkeys = [{ id = "${name}", sha256 = "${hash(name)}" }]\nroles = [${roles.map((one) => `"${one}"`)}]\n`;

async function withRoles(browser, axe) {
  const gateway = await sandbox(`
${operator("vera", ["viewer"])}${operator("sam", ["support"])}${operator("otto", ["operator"])}${operator("ada", ["auditor"])}
[console]
client = "support_desk"
[clients.support_desk]
keys = [{ id = "desk-1", sha256 = "${hash("desk")}", expires = "2020-01-01T00:00:00Z" }]
purposes = ["support"]
daily_cap = 3
[clients.payout]
keys = [{ id = "payout-1", sha256 = "${hash("payout")}" }]
purposes = ["default", "withdrawal"]
no_cache = false
[clients.payout.budget]
yuan_per_day = "0.50"
`);
  try {
    const people = await fetch(`${gateway.admin}/sandbox/people`, { headers: { authorization: `Bearer ${key("otto")}` } });
    for (const { name, id_number } of (await people.json()).slice(0, 12)) {
      await ask(gateway, { name, id_number }, { authorization: `Bearer ${key("payout")}` });
    }
    const signIn = async (name) => {
      const page = await watched(browser, gateway);
      await page.goto(`${gateway.admin}/console/`);
      await page.getByLabel("Operator’s key").fill(key(name));
      await page.keyboard.press("Enter");
      await page.waitForURL("**/console/");
      return page;
    };
    const wrong = await watched(browser, gateway);
    await wrong.goto(`${gateway.admin}/console/`);
    await wrong.getByLabel("Operator’s key").fill("idg_wrong");
    await wrong.keyboard.press("Enter");
    await wrong.getByRole("alert").waitFor();
    await look(wrong, axe, "sign-in-refused");

    const names = async (page) => (await page.getByRole("navigation").innerText()).split(/\s+/).join(" ");
    const vera = await signIn("vera");
    check((await names(vera)) === "Overview Providers Money Clients", `a viewer sees no persons: ${await names(vera)}`);
    await vera.goto(`${gateway.admin}/console/answers`);
    check((await heading(vera)) === "Not allowed", "a viewer finds no answers");
    await look(vera, axe, "not-allowed");
    await to(vera, "Providers");
    check((await vera.getByRole("button", { name: /^Isolate/ }).count()) === 0, "a viewer isolates nothing");
    for (const name of ["Money", "Clients"]) {
      await to(vera, name);
      await look(vera, axe, `${name.toLowerCase()}-configured`);
    }

    const sam = await signIn("sam");
    check((await names(sam)) === "Overview Ask Providers Answers Money Clients Changes", `support: ${await names(sam)}`);
    await to(sam, "Ask");
    check((await sam.locator("#faults").count()) === 0, "support sets no fault");
    for (let n = 0; n < 4; n += 1) {
      await sam.getByLabel("Name").fill("李四");
      await sam.getByLabel("ID number").fill("11010519491231002X");
      await sam.getByRole("button", { name: "Ask", exact: true }).first().click();
      await sam.locator(".verdict").waitFor();
    }
    check((await sam.locator(".verdict").innerText()).includes("rate limited"), "the client's cap holds here too");
    await look(sam, axe, "ask-capped");
    await to(sam, "Answers");
    await sam.getByLabel("Client").selectOption("support_desk");
    await sam.getByRole("button", { name: "Find" }).click();
    await sam.locator("tbody a").last().click();
    check((await sam.locator(".facts").innerText()).includes("console/sam"), "the ledger says who asked");
    const ada = await signIn("ada");
    check((await names(ada)) === "Overview Providers Answers Money Clients Changes", `an auditor: ${await names(ada)}`);
    for (const name of ["vera", "sam", "otto", "ada", "payout"]) check(!gateway.log.includes(key(name)), `the key of ${name} is logged`);
    return Math.max(vera.largest, sam.largest, ada.largest);
  } finally {
    gateway.child.kill("SIGTERM");
  }
}

const watch = setTimeout(() => {
  console.error(`not done after ${WHOLE / 1000} s`);
  process.exit(1);
}, WHOLE);
const { chromium, axe } = install();
rmSync(PAGES, { recursive: true, force: true });
mkdirSync(PAGES, { recursive: true });
const LAUNCH = { executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] };
const browser = await chromium.launch(LAUNCH);
let largest = 0;
try {
  for (const part of [inTheSandbox, withRoles, inTheProfile]) largest = Math.max(largest, await part(browser, axe));
} catch (error) {
  failures.push(error.stack);
} finally {
  await browser.close();
  clearTimeout(watch);
}
for (const failure of failures) console.error(`FAILED: ${failure}`);
console.log(`${failures.length ? "failed" : "passed"}; the largest file has ${largest} bytes; screenshots in ${PAGES}`);
process.exitCode = failures.length ? 1 : 0;
