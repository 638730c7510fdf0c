// Key details: everything that can be done with one key, and everything that is known of it.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createKey, logged, send } from "./seeds.mjs";
import { eventually, start } from "./world.mjs";

const world = await start();
const { gateway } = world;

const make = (name, more = {}) => createKey(gateway, { name: world.unique(name), permissions: ["customers:read"], ...more });
const read = (k) => gateway.must("GET", "/v1/api-keys/" + k.keyId);
const works = (apiKey) => gateway.curl("/v1/customers", apiKey);

/** Signs in and goes to the key's page. */
async function at(v, k, options = {}) {
  await v.signIn({ hash: "#/keys/" + k.keyId, ...options });
  await (options.page ?? v.page).getByRole("heading", { level: 1, name: k.name, exact: true }).waitFor();
  if (!options.page) await v.settled();
}

/** Opens a dialog by its button, and does what it asks about. */
async function confirm(v, button, title, action) {
  await v.button(button).click();
  await v.dialog(title).waitFor();
  await v.button(action).click();
  await v.dialog(title).waitFor({ state: "detached" });
}

const edit = (v, page = v.page) => page.getByRole("dialog", { name: /^Edit / });
const part = (v, name) => v.page.getByRole("region", { name, exact: true });

// First, while the root key alone can manage keys.
world.test("who would take away the last manager is stopped, and has to insist", async (v) => {
  v.expects(/status of 409/);
  const root = await gateway.must("GET", "/v1/api-keys/self");
  await at(v, root);
  await v.button("Revoke").click();
  const dialog = v.dialog("Revoke " + root.name);
  await dialog.getByText("signs you out").waitFor();
  await v.button("Revoke key").click();
  await dialog.getByRole("alert").getByText(/no other key could manage/).waitFor();
  assert.ok(await v.button("Revoke key").isDisabled(), "not before it is insisted on");
  await dialog.getByRole("checkbox", { name: "Do it all the same" }).waitFor();
  await v.button("Cancel").click();
  assert.equal((await read(root)).isActive, true);
});

world.test("an edit says what changes before it changes anything", async (v) => {
  const k = await make("Edited", { permissions: ["customers:read", "telemetry:write"], rateLimit: 20, owner: "before" });
  const name = world.unique("Renamed");
  await at(v, k);
  await v.button("Edit").click();
  const form = edit(v);
  await form.getByLabel("Name", { exact: true }).fill(name);
  await form.getByLabel("Rate limit").fill("50");
  await form.getByRole("checkbox", { name: "Telemetry Write" }).uncheck();
  await form.getByRole("checkbox", { name: "License Management" }).check();
  await form.getByLabel("Daily limit").fill("1000");
  await v.button("Review changes").click();
  await form.getByRole("heading", { name: "What changes" }).waitFor();
  const said = (await form.innerText()).replace(/\s+/g, " ");
  for (const part of [name, "20 requests in any 60 seconds", "50 requests", "gains License Management", "loses Telemetry Write", "no limit", "1,000 requests in any 24 hours", "takes something away"]) {
    assert.ok(said.includes(part), `${part} in: ${said}`);
  }
  assert.ok(!said.includes("Owner"), "what stays as it is is not spoken of");
  assert.equal((await read(k)).version, k.version, "nothing is changed yet");
  await v.button("Save changes").click();
  await v.heading(name).waitFor();
  const now = await read(k);
  assert.deepEqual([now.name, now.rateLimit, now.permissions.toSorted(), now.limits.map((l) => [l.window, l.requests]), now.owner], [name, 50, ["customers:read", "licenses:manage"], [["day", 1000]], "before"]);
  assert.match(await v.page.title(), new RegExp("^" + name));
  await part(v, "Audit trail").getByText(`changed the name from “${k.name}” to “${name}”`).waitFor();
});

world.test("what an edit gets wrong stands beside its field, and nothing is lost", async (v) => {
  v.expects(/status of 40[03]/);
  const k = await make("Wrongly edited");
  await at(v, k);
  await v.button("Edit").click();
  const form = edit(v);
  await form.getByLabel("Owner").fill("kept");
  await form.getByLabel("Rate limit").fill("none");
  await v.button("Review changes").click();
  assert.match(await v.errorOf(form.getByLabel("Rate limit")), /whole number/);
  await form.getByLabel("Rate limit").fill("30");
  await form.getByLabel("Networks").fill("nowhere");
  await v.button("Review changes").click();
  await v.button("Save changes").click();
  assert.match(await v.errorOf(form.getByLabel("Networks")), /nowhere/); // the API has judged
  assert.equal(await form.getByLabel("Owner").inputValue(), "kept");
  await v.asked("confirm", "dismiss", () => v.page.keyboard.press("Escape"));
  assert.equal(await form.getByLabel("Owner").inputValue(), "kept");
  assert.equal((await read(k)).version, k.version);
  await v.asked("confirm", "accept", () => v.button("Cancel").click());
  await form.waitFor({ state: "detached" });
});

world.test("of two tabs that edit one key the later is told, and nothing of either is lost", async (v) => {
  v.expects(/status of 412/);
  const k = await make("Edited twice", { rateLimit: 20 });
  await at(v, k);
  const other = await v.tab();
  await at(v, k, { page: other });

  await v.page.bringToFront();
  await v.button("Edit").click();
  const mine = edit(v), theirs = edit(v, other);
  await mine.getByLabel("Owner").fill("mine");

  await other.getByRole("button", { name: "Edit", exact: true }).click();
  await theirs.getByLabel("Rate limit").fill("99");
  await other.getByRole("button", { name: "Review changes" }).click();
  await other.getByRole("button", { name: "Save changes" }).click();
  await theirs.waitFor({ state: "detached" });

  await v.page.bringToFront();
  await v.button("Review changes").click();
  await v.button("Save changes").click();
  await mine.getByRole("alert").getByText(/Somebody else has changed this key/).waitFor();
  assert.deepEqual([(await read(k)).owner, (await read(k)).rateLimit], ["", 99], "theirs stands, mine is not saved");
  await v.button("Review their changes").click();
  const said = (await mine.innerText()).replace(/\s+/g, " ");
  for (const text of ["20 requests in any 60 seconds", "99 requests in any 60 seconds", "mine"]) assert.ok(said.includes(text), `${text} in: ${said}`);
  await v.button("Go on with the key as it is now").click();
  assert.equal(await mine.getByLabel("Owner").inputValue(), "mine");
  assert.equal(await mine.getByLabel("Rate limit").inputValue(), "99");
  await v.button("Review changes").click();
  await v.button("Save changes").click();
  await mine.waitFor({ state: "detached" });
  assert.deepEqual([(await read(k)).owner, (await read(k)).rateLimit], ["mine", 99]);
});

world.test("an action on a key that somebody else has changed is not done before it is looked at again", async (v) => {
  v.expects(/status of 412/);
  const k = await make("Changed meanwhile");
  await at(v, k);
  await v.button("Revoke").click();
  await gateway.must("PATCH", "/v1/api-keys/" + k.keyId, { body: { owner: "somebody else" } });
  await v.button("Revoke key").click();
  const dialog = v.dialog("Revoke " + k.name);
  await dialog.getByRole("alert").getByText(/Somebody else has changed/).waitFor();
  assert.equal(await works(k.apiKey), 200, "nothing was done");
  await part(v, "Details").getByText("somebody else").waitFor();
  await v.button("Revoke key").click();
  await dialog.waitFor({ state: "detached" });
  assert.equal(await works(k.apiKey), 401);
});

world.test("revoke says what stops and when, and activate undoes it", async (v) => {
  const k = await make("Switched");
  await at(v, k);
  assert.equal(await works(k.apiKey), 200);
  await v.button("Revoke").click();
  await v.dialog("Revoke " + k.name).getByText(/refused with 401: at once on guarded routes, and on all others within about \d+ seconds/).waitFor();
  await v.button("Revoke key").click();
  await v.page.getByText(/Revoked “.*”: in force now on guarded routes, on all others by/).waitFor();
  assert.equal(await works(k.apiKey), 401);
  await v.page.getByRole("main").getByText("Inactive").first().waitFor();
  await confirm(v, "Activate", "Activate " + k.name, "Activate key");
  await v.button("Revoke").waitFor();
  assert.equal(await works(k.apiKey), 200);
});

/** Regenerates, and takes the new secret from the dialog. */
async function regenerate(v, k, when) {
  await v.button("Regenerate").click();
  const dialog = v.dialog("Regenerate " + k.name);
  await dialog.getByRole("radio", { name: when, exact: true }).check();
  await v.button("Regenerate key").click();
  await v.dialog(/^Save your/).waitFor();
  await v.button("Copy API key").click();
  await v.page.getByText("Copied", { exact: true }).waitFor();
  const apiKey = world.secrets.add(await v.clipboard());
  await v.page.getByRole("checkbox", { name: "I have saved this key somewhere safe" }).check();
  await v.button("Done").click();
  await v.dialog(/^Save your/).waitFor({ state: "detached" });
  return apiKey;
}

world.test("after a regenerate with grace both secrets work, until the old one is retired", async (v) => {
  const k = await make("Rotated");
  await at(v, k);
  const fresh = await regenerate(v, k, "After 1 hour");
  assert.deepEqual([await works(k.apiKey), await works(fresh)], [200, 200]);
  await send(gateway, k.apiKey, 3);
  await logged(gateway, k.keyId, 5);
  await v.page.reload();
  const old = part(v, "Old secret");
  await old.getByText(/4 requests/).first().waitFor(); // those of the old secret alone
  await old.getByText(/(59|60) min \d\d s/).waitFor();
  await confirm(v, "Retire the old secret now", "Retire the old secret of " + k.name, "Retire it");
  assert.deepEqual([await works(k.apiKey), await works(fresh)], [401, 200], "the old one is refused at once");
  await old.waitFor({ state: "detached" });
  await part(v, "Audit trail").getByText(/retired the old secret/).waitFor();
});

world.test("after a regenerate without grace the old secret is refused at once", async (v) => {
  const k = await make("Leaked");
  await at(v, k);
  const fresh = await regenerate(v, k, "Now");
  assert.deepEqual([await works(k.apiKey), await works(fresh)], [401, 200]);
});

world.test("who regenerates the key that they signed in with keeps the new one, and has to sign in again", async (v) => {
  v.expects(/status of 401/);
  const k = await make("My own key", { permissions: ["api_keys:read", "api_keys:write", "customers:read"] });
  await at(v, k, { key: k.apiKey });
  const fresh = await regenerate(v, k, "Now");
  await v.page.getByLabel("Management API key").waitFor();
  await v.page.getByText(/You regenerated “My own key/).first().waitFor();
  assert.equal(await works(fresh), 200);
  assert.equal(await v.sessionKey(), null);
});

world.test("the new key is shown although the page learns first that the session has ended", async (v) => {
  v.expects(/status of 401/);
  const k = await make("My own key", { permissions: ["api_keys:read", "api_keys:write", "customers:read"] });
  let committed;
  const done = new Promise((resolve) => (committed = resolve));
  await v.page.route("**/advice", async (route) => {
    await done;
    await route.continue();
  });
  await v.page.route("**/regenerate", async (route) => {
    const response = await route.fetch();
    const refused = v.page.waitForResponse((r) => r.status() === 401);
    committed();
    await refused;
    await v.page.waitForTimeout(300);
    await route.fulfill({ response });
  });
  await v.signIn({ key: k.apiKey, hash: "#/keys/" + k.keyId });
  await v.heading(k.name).waitFor();
  assert.equal(await works(await regenerate(v, k, "Now")), 200);
  await v.page.getByLabel("Management API key").waitFor();
});

world.test("the primary mark moves, and a primary key says what to do before it can be deleted", async (v) => {
  const [first, second] = [await make("First"), await make("Second")];
  await at(v, first);
  await confirm(v, "Make primary", `Make ${first.name} primary`, "Move the mark here");
  await v.page.getByRole("main").getByText("Primary", { exact: true }).first().waitFor();
  assert.equal((await read(first)).isPrimary, true);

  await v.button("Delete").click();
  const refusal = v.dialog("Delete " + first.name);
  await refusal.getByText(/cannot be deleted/).waitFor();
  await refusal.getByText(/Make it primary/).waitFor();
  await refusal.getByRole("link", { name: "Create API Key" }).waitFor();
  assert.equal(await v.button("Delete key").count(), 0);
  await v.button("Close").click();

  await v.go("#/keys/" + second.keyId);
  await v.heading(second.name).waitFor();
  await v.button("Make primary").click();
  await v.dialog(`Make ${second.name} primary`).getByText(new RegExp(first.name + ".* loses the mark")).waitFor();
  await v.button("Move the mark here").click();
  await v.dialog(`Make ${second.name} primary`).waitFor({ state: "detached" });
  assert.deepEqual([(await read(first)).isPrimary, (await read(second)).isPrimary], [false, true]);

  await v.go("#/keys/" + first.keyId);
  await v.button("Delete").click();
  const dialog = v.dialog("Delete " + first.name);
  for (const typed of ["", "first", first.name + " "]) {
    await dialog.getByLabel("Type the key’s name to confirm").fill(typed);
    assert.ok(await v.button("Delete key").isDisabled(), "not by " + JSON.stringify(typed));
  }
  await dialog.getByLabel("Type the key’s name to confirm").fill(first.name);
  await v.button("Delete key").click();
  v.expects(/status of 404/); // the page looks for it, and then among the deleted
  await v.page.getByText("This key was deleted").waitFor();
  assert.equal(await works(first.apiKey), 401);
  assert.equal(await v.button("Edit").count(), 0);
  await part(v, "Audit trail").getByText(/deleted the key/).waitFor();
});

world.test("usage, requests, sheets and the audit trail tell what a key did and what was done to it", async (v) => {
  const k = await make("Observed", { permissions: ["customers:read", "telemetry:write", "licenses:manage"] });
  await send(gateway, k.apiKey, 5);
  await send(gateway, k.apiKey, 2, "/v1/customers/absent");
  await send(gateway, k.apiKey, 1, "/v1/workspaces");
  await logged(gateway, k.keyId, 7);
  await at(v, k);

  const usage = part(v, "Usage");
  await usage.getByText("2xx successful 5").waitFor();
  assert.match(await usage.getByRole("row", { name: /Customer Read/ }).innerText(), /\b7\b/);
  await usage.getByLabel("Period").selectOption({ label: "30 days, by day" });
  await usage.getByRole("figure", { name: /30 days/ }).getByText("2xx successful 5").waitFor();

  const requests = part(v, "Requests"), rows = requests.getByRole("table", { name: "Requests" }).getByRole("row");
  const all = await rows.count() - 1;
  assert.ok(all >= 7, `${all} requests`);
  await requests.getByLabel("Status").selectOption("2xx");
  await eventually("the successful ones", async () => (await rows.count()) === 6);
  const [sheet] = await Promise.all([v.page.waitForEvent("download"), requests.getByRole("button", { name: "Download CSV" }).click()]);
  const lines = (await readFile(await sheet.path(), "utf8")).trim().split(/\r?\n/);
  assert.equal(sheet.suggestedFilename(), `requests-${k.keyId}.csv`);
  assert.equal(lines.length, 6, "a heading, and what was chosen");

  await confirm(v, "Revoke", "Revoke " + k.name, "Revoke key");
  const trail = part(v, "Audit trail").getByRole("listitem");
  await trail.filter({ hasText: "Root key switched the key off" }).filter({ hasText: "console session" }).waitFor();
  await trail.filter({ hasText: "Root key created the key." }).waitFor();
  assert.match(await trail.first().innerText(), /switched the key off/, "newest first");
});

world.test("what a key does not use can be taken away with one click", async (v) => {
  const k = await make("Too powerful", { permissions: ["customers:read", "telemetry:write", "licenses:manage"] });
  await send(gateway, k.apiKey, 2);
  await logged(gateway, k.keyId, 2);
  await at(v, k);
  const advice = part(v, "Advice");
  await advice.getByText("Not conclusive yet").waitFor();
  await advice.getByRole("button", { name: "Take away what is not used" }).click();
  const dialog = v.dialog("Narrow " + k.name);
  await dialog.getByText(/loses .*License Management/).waitFor();
  assert.match(await dialog.innerText(), /loses .*Telemetry Write/);
  await v.button("Save changes").click();
  await dialog.waitFor({ state: "detached" });
  assert.deepEqual((await read(k)).permissions, ["customers:read"]);
});

world.test("a simulation says what would become of a request, and counts nothing", async (v) => {
  const k = await make("Simulated", { networks: ["127.0.0.0/8", "::1"] });
  await at(v, k);
  const simulate = part(v, "Simulate");
  const ask = async (path, address, want) => {
    await simulate.getByLabel("Path").fill(path);
    await simulate.getByLabel("Source address").fill(address);
    await simulate.getByRole("button", { name: "Simulate request" }).click();
    await simulate.getByRole("status").getByText(want).first().waitFor();
  };
  await ask("/v1/customers", "127.0.0.1", "Let through");
  await ask("/v1/licenses", "127.0.0.1", /asks for License Management, which the key does not hold/);
  await ask("/v1/customers", "203.0.113.9", /may be used from 127.0.0.0\/8/);
  await ask("/v1/nowhere", "127.0.0.1", /no route of this API/);
  assert.equal((await read(k)).requestCount, 0);
});

world.test("a key that is not there is said not to be", async (v) => {
  v.expects(/status of 404/);
  await v.signIn({ hash: "#/keys/key_AAAAAAAA" });
  await v.heading("No such key").waitFor();
  await v.page.getByRole("main").getByRole("link", { name: "API Keys" }).click();
  await v.heading("API Keys").waitFor();
});
