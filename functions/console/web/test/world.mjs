// The world of a file of tests: a gateway (gateway.mjs) and the machine's Chromium.
//
// The model: start makes both once for a file and has them ended after its tests. Each test
// has a visitor: a browser profile of its own, as clean as a private window.
//
// Promises: whatever a test is about, it fails if the page logs an error, breaks its
// Content-Security-Policy, opens a browser dialog, talks to another origin or puts a secret
// into an address, unless the test has said that it expects that; and nothing that a failed
// test prints holds a secret.
import assert from "node:assert/strict";
import { accessSync, constants, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, join } from "node:path";
import { after, test } from "node:test";
import { chromium } from "playwright-core";
import { Gateway } from "./gateway.mjs";
import { Secrets } from "./secrets.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

function browserPath() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    for (const dir of process.env.PATH.split(delimiter)) {
      try {
        accessSync(join(dir, name), constants.X_OK);
        return join(dir, name);
      } catch {
        // Not there.
      }
    }
  }
  throw new Error("no Chromium on PATH: apt-get install chromium, or name one by CHROMIUM");
}

/** Starts the world of this file's tests; it ends with them. */
export async function start() {
  const world = new World();
  await world.begin();
  after(() => world.end());
  return world;
}

export class World {
  secrets = new Secrets();

  async begin() {
    try {
      [this.gateway, this.browser] = await Promise.all([
        Gateway.start(this.secrets),
        chromium.launch({ executablePath: browserPath(), headless: true, args: flags }),
      ]);
    } catch (e) {
      throw this.#presentable(e);
    }
    this.root = this.gateway.root;
  }

  async end() {
    await this.browser.close();
    await this.gateway.stop();
  }

  /** A name that nobody else has. */
  unique(text) {
    this.serial = (this.serial ?? 0) + 1;
    return `${text} ${this.serial}`;
  }

  /** Registers a test, which gets a visitor. options: see Visitor.open. */
  test(name, options, run = options) {
    test(name, { timeout: 120_000 }, async () => {
      let visitor;
      try {
        visitor = await Visitor.open(this, run === options ? {} : options);
        await run(visitor);
        visitor.verify();
      } catch (e) {
        throw this.#presentable(e, await visitor?.report());
      } finally {
        await visitor?.close();
      }
    });
  }

  /**
   * The error without secrets (Playwright tells what it typed, assertions what they compared),
   * and with what is to be seen in the browser.
   */
  #presentable(e, report = "") {
    const shown = new Error(this.secrets.redact(String(e?.message ?? e) + report));
    shown.stack = this.secrets.redact(String(e?.stack ?? e) + report);
    return shown;
  }
}

/** Somebody at a browser: page is the tab in front, and the locators that all flows need are here. */
export class Visitor {
  #unexpected = [];
  #expected = [];
  #onDialog;

  /**
   * scheme: "light" or "dark"; width, height: of the window; stage: "" or "/staging", of
   * the console's address; context: what else Playwright's newContext takes.
   */
  static async open(world, { scheme = "light", width = 1280, height = 800, stage = "", context = {} } = {}) {
    const v = new Visitor();
    v.world = world;
    v.gateway = world.gateway;
    v.address = world.gateway.url + stage + "/console/";
    v.context = await world.browser.newContext({ colorScheme: scheme, viewport: { width, height }, timezoneId: "Europe/Berlin", locale: "en-GB", ...context });
    v.context.setDefaultTimeout(10_000);
    v.page = await v.tab();
    return v;
  }

  /** Another tab of the same browser profile. */
  async tab() {
    const page = await this.context.newPage();
    await page.addInitScript(() => document.addEventListener("securitypolicyviolation", (e) => console.error("CSP: " + e.violatedDirective + " " + e.blockedURI)));
    page.on("console", (m) => m.type() === "error" && this.#note(`console: ${m.text()} (${m.location().url})`));
    page.on("pageerror", (e) => this.#note("page error: " + (e.stack ?? e)));
    page.on("request", (r) => {
      if (this.world.secrets.in(r.url())) this.#note("a secret is in the address of a request");
      if (!/^(data|blob|about):/.test(r.url()) && new URL(r.url()).origin !== this.gateway.url) this.#note("request to another origin: " + r.url());
    });
    page.on("dialog", async (d) => {
      if (this.#onDialog) return this.#onDialog(d);
      this.#note(`browser dialog ${d.type()}: ${d.message()}`);
      await d.dismiss();
    });
    return page;
  }

  #note(what) {
    if (!this.#expected.some((e) => e.test(what))) this.#unexpected.push(what);
  }

  /** What the page logs from now on and matches is no fault. */
  expects(...patterns) {
    this.#expected.push(...patterns);
  }

  /** Runs run, which makes the browser itself ask something, and answers that: "accept" or "dismiss". */
  async asked(type, answer, run) {
    const said = [];
    this.#onDialog = async (d) => {
      said.push(d.type());
      await d[answer]();
    };
    await run();
    await eventually("the browser asks", () => said.length > 0, { seconds: 5 });
    this.#onDialog = undefined;
    assert.deepEqual(said, [type], "asked once");
  }

  verify() {
    assert.ok(this.#unexpected.length === 0, "something unexpected happened");
  }

  /** For whoever has to find out why a test failed. */
  async report() {
    const shown = await this.page.locator("main, dialog[open]").last().ariaSnapshot({ timeout: 2000 }).catch((e) => e.message);
    const lines = shown.split("\n");
    return ["", ...this.#unexpected, this.page.url(), ...lines.slice(0, 60), lines.length > 60 ? "…" : ""].join("\n");
  }

  async close() {
    await this.context.close();
  }

  /** Goes to a page of the console: "#/keys?status=active". */
  async go(hash = "", page = this.page) {
    await page.goto(this.address + hash);
  }

  /** Signs in as a person would, and waits until the console is there. */
  async signIn({ key = this.world.root, hash = "", page = this.page } = {}) {
    await this.go(hash, page);
    await page.getByLabel("Management API key").fill(key);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("navigation", { name: "Pages" }).waitFor();
    this.world.secrets.add(await this.sessionKey(page));
  }

  /** The session's key, as the tab keeps it; null: signed out. */
  sessionKey(page = this.page) {
    return page.evaluate(() => JSON.parse(sessionStorage.getItem("keyreeve.session"))?.apiKey ?? null);
  }

  /** What the page holds in all places where a secret may be left behind, for Secrets.in. */
  remains(page = this.page) {
    return page.evaluate(async () => JSON.stringify([
      document.documentElement.outerHTML,
      [...document.querySelectorAll("input, textarea, select, output")].map((e) => e.value),
      document.title, location.href, history.state, document.cookie, window.name,
      { ...sessionStorage }, { ...localStorage },
      (await indexedDB.databases()).map((d) => d.name),
      await caches.keys(),
    ]));
  }

  /** What is in the clipboard: pasted, as a person would. The console itself may not read it. */
  async clipboard() {
    const page = await this.context.newPage();
    try {
      await page.setContent("<textarea></textarea>");
      await page.locator("textarea").focus();
      await page.keyboard.press("Control+V");
      return await page.locator("textarea").inputValue();
    } finally {
      await page.close();
    }
  }

  /** Goes to an element as one without a mouse does; wherever the focus comes by can be seen. */
  async tabTo(locator, key = "Tab") {
    for (let i = 0; i < 150; i++) {
      if ((await locator.count()) === 1 && (await locator.evaluate((e) => e === document.activeElement))) return;
      await this.page.keyboard.press(key);
      const bare = await this.page.evaluate(() => {
        const e = document.activeElement, { outlineStyle, outlineWidth } = getComputedStyle(e);
        return e !== document.body && (outlineStyle === "none" || outlineWidth === "0px") ? e.outerHTML.slice(0, 80) : "";
      });
      assert.equal(bare, "", "the focus can be seen");
    }
    throw new Error(`${key} never comes to ${locator}`);
  }

  /** What stands beside a field that something is wrong with. */
  async errorOf(field) {
    await field.and(this.page.locator("[aria-invalid=true]")).waitFor();
    const ids = (await field.getAttribute("aria-describedby")).split(" ");
    return (await Promise.all(ids.map((id) => this.page.locator(`[id="${id}"].error`).allInnerTexts()))).flat().join(" ");
  }

  heading(name) {
    return this.page.getByRole("heading", { level: 1, name, exact: true });
  }

  /** A page is there, and has taken the focus to its heading. */
  async arrived(name) {
    await this.heading(name).and(this.page.locator(":focus")).waitFor();
  }

  button(name) {
    return this.page.getByRole("button", { name, exact: true });
  }

  dialog(name) {
    return this.page.getByRole("dialog", { name });
  }

  /** Nothing is being read; what is only read when it comes into sight is left alone. */
  async calm() {
    await this.page.evaluate(() => (window.calm = 0));
    await this.page.waitForFunction(() => {
      const busy = document.querySelector(":not(.reserve) > .loading, :not(.reserve, .loading) > .spinner, [aria-busy=true]") || !document.querySelector("h1");
      window.calm = busy ? 0 : window.calm + 1;
      return window.calm > 3;
    }, undefined, { polling: 30 });
  }

  /** Everything that the page can show is there. */
  async settled() {
    await this.page.waitForTimeout(50);
    await this.calm();
    for (let more; (more = await this.page.locator(".reserve").count()) > 0;) {
      await this.page.evaluate(() => [...document.querySelectorAll(".reserve")].at(-1)?.scrollIntoView());
      await this.page.waitForFunction((n) => document.querySelectorAll(".reserve").length < n, more);
    }
    await this.calm();
    await this.page.evaluate(() => scrollTo(0, 0));
  }

  /** No rule of axe-core is broken by what is on the screen. */
  async accessible(what) {
    // By evaluate, since the page's policy forbids to load it as a script.
    await this.page.evaluate(axe + "; 0");
    const broken = await this.page.evaluate(async () => {
      const { violations } = await axe.run(document, { resultTypes: ["violations"] });
      return violations.map((v) => `${v.id} (${v.impact}): ${v.help}\n` + v.nodes.map((n) => `    ${n.target.join(" ")}: ${n.failureSummary.replace(/\s+/g, " ")}`).join("\n"));
    });
    assert.deepEqual(broken, [], `axe-core on ${what}`);
  }

  /** Neither the page nor a dialog scrolls sideways. */
  async fits(what) {
    const wide = await this.page.evaluate(() => [document.scrollingElement, ...document.querySelectorAll("dialog[open]")]
      .filter((e) => e.scrollWidth > e.clientWidth)
      .map((e) => {
        const right = e.getBoundingClientRect().left + e.clientWidth;
        const out = [...e.querySelectorAll("*")].filter((n) => n.getBoundingClientRect().right > right + 1 && !n.closest(".table, .hidden")).slice(0, 3);
        return `${e.tagName}: ${e.scrollWidth} px on ${e.clientWidth}, for ${out.map((n) => n.tagName + "." + n.className).join(", ")}`;
      }));
    assert.deepEqual(wide, [], what);
  }
}

/** Waits until check answers something true, and returns it. */
export async function eventually(what, check, { seconds = 20 } = {}) {
  for (const end = Date.now() + seconds * 1000; ;) {
    const found = await check();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
    await new Promise((r) => setTimeout(r, 200));
  }
}
