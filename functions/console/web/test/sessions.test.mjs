// Sessions: what somebody was filling in when theirs ended, who is signed in with a key, and
// what a session that may only read is offered. Then decoys, and a clock that is wrong.
import assert from "node:assert/strict";
import { createKey, send } from "./seeds.mjs";
import { start } from "./world.mjs";

const world = await start();
const { gateway } = world;

/** Ends the visitor's session elsewhere, as expiry or a change of its key would. */
async function endElsewhere(v) {
  const { keyId } = await gateway.must("GET", "/v1/api-keys/self", { key: await v.sessionKey() });
  await gateway.must("DELETE", "/v1/sessions/" + keyId);
}

/** Fills in the form to create a key, and has the session end before it is sent. */
async function interrupted(v, name) {
  v.expects(/status of 401/);
  await v.signIn({ hash: "#/keys/new" });
  await v.page.getByLabel("Name", { exact: true }).fill(name);
  await v.page.getByRole("checkbox", { name: "Telemetry Write" }).check();
  await endElsewhere(v);
  await v.button("Create API Key").click();
  await v.dialog("Sign in again").waitFor();
  assert.equal(await v.sessionKey(), null);
}

async function signInAgain(v, key) {
  await v.page.getByLabel("Management API key").fill(key);
  await v.button("Sign in").click();
  await v.dialog("Sign in again").waitFor({ state: "detached" });
  world.secrets.add(await v.sessionKey());
}

world.test("whoever signs in again with the same key finds what they had filled in", async (v) => {
  const name = world.unique("Interrupted");
  await interrupted(v, name);
  for (let i = 0; i < 3; i++) await v.page.keyboard.press("Escape");
  assert.ok(await v.dialog("Sign in again").isVisible(), "it cannot be dismissed by accident");
  const kept = await v.page.evaluate(() => JSON.stringify([{ ...sessionStorage }, { ...localStorage }]));
  assert.ok(!kept.includes(name), "what was filled in is in no storage");
  await signInAgain(v, world.root);
  assert.equal(await v.page.getByLabel("Name", { exact: true }).inputValue(), name);
  assert.ok(await v.page.getByRole("checkbox", { name: "Telemetry Write" }).isChecked());
  await v.button("Create API Key").click();
  await v.dialog("Save your API key").waitFor();
});

world.test("whoever signs in with another key finds nothing of it, nor whoever gives it up", async (v) => {
  const other = await createKey(gateway, { name: world.unique("Another"), permissions: ["api_keys:read", "api_keys:write"] });
  const name = world.unique("Somebody else’s");
  await interrupted(v, name);
  await signInAgain(v, other.apiKey);
  await v.heading("Create API Key").waitFor();
  assert.equal(await v.page.getByLabel("Name", { exact: true }).inputValue(), "");

  await v.page.getByLabel("Name", { exact: true }).fill(name);
  await endElsewhere(v);
  await v.button("Create API Key").click();
  await v.dialog("Sign in again").waitFor();
  await v.button("Give it up").click();
  await v.dialog("Sign in again").waitFor({ state: "detached" });
  await v.page.getByLabel("Management API key").waitFor();
  assert.ok(!(await v.remains()).includes(name));
});

world.test("a management key shows who is signed in with it, and ends that", async (v) => {
  const { keyId } = await gateway.must("GET", "/v1/api-keys/self");
  const elsewhere = await gateway.must("POST", "/v1/sessions", { body: {} });
  await v.signIn({ hash: "#/keys/" + keyId });
  const sessions = v.page.getByRole("region", { name: "Sessions", exact: true });
  await sessions.getByText("This one").waitFor();
  const before = await sessions.getByRole("button", { name: /^End session/ }).count();
  await sessions.locator(`tr:has([title="Session ${elsewhere.keyId}"])`).getByRole("button", { name: /^End session/ }).click();
  await v.dialog("End session").getByText(/refused with 401: at once/).waitFor();
  await v.button("End it").click();
  await v.dialog("End session").waitFor({ state: "detached" });
  assert.equal(await gateway.curl("/v1/api-keys/self", elsewhere.apiKey), 401);
  await sessions.locator(`[title="Session ${elsewhere.keyId}"]`).waitFor({ state: "detached" });
  assert.equal(await sessions.getByRole("button", { name: /^End session/ }).count(), before - 1);

  const own = await v.sessionKey();
  await sessions.getByRole("row").filter({ hasText: "This one" }).getByRole("button").click();
  await v.dialog("End session").getByText("signed out").waitFor();
  await v.button("End it").click();
  await v.page.getByLabel("Management API key").waitFor();
  assert.equal(await gateway.curl("/v1/api-keys/self", own), 401);
});

world.test("a session that may only read is not offered what would be refused", async (v) => {
  const reader = await createKey(gateway, { name: world.unique("Reader"), permissions: ["api_keys:read"] });
  await v.signIn({ key: reader.apiKey, hash: "#/keys/" + reader.keyId });
  await v.page.getByText("You may see this key, and not change it.").waitFor();
  for (const name of ["Edit", "Regenerate", "Revoke", "Delete"]) assert.equal(await v.button(name).count(), 0, name);
});

world.test("a decoy is made with what a decoy can have, and never works", async (v) => {
  const name = world.unique("Decoy");
  await v.signIn({ hash: "#/keys/new" });
  await v.page.getByLabel("Name", { exact: true }).fill(name);
  await v.page.getByRole("checkbox", { name: "Customer Read" }).check();
  await v.page.getByText("More options").click();
  await v.page.getByLabel("Hourly limit").fill("none");
  await v.page.getByRole("checkbox", { name: "Make it a decoy (canary)" }).check();
  assert.equal(await v.page.getByRole("group", { name: "Permissions" }).count(), 0);
  assert.equal(await v.page.getByLabel("Rate limit").count(), 0);
  await v.button("Create API Key").click();
  await v.dialog("Save your API key").waitFor();
  await v.button("Copy API key").click();
  await v.page.getByText("Copied", { exact: true }).waitFor();
  const apiKey = world.secrets.add(await v.clipboard());
  await v.page.getByRole("checkbox", { name: "I have saved this key somewhere safe" }).check();
  await v.button("Done").click();
  await v.heading(name).waitFor();
  await v.page.getByText("A canary:").waitFor();
  assert.equal(await gateway.curl("/v1/api-keys/self", apiKey), 401);
});

for (const minutes of [-10, 10]) {
  world.test(`times are told by the API's clock, though the browser's is ${minutes} minutes off`, async (v) => {
    const k = await createKey(gateway, { name: world.unique("Used now"), permissions: ["customers:read"] });
    await send(gateway, k.apiKey, 1);
    await v.page.addInitScript((off) => {
      const real = Date;
      globalThis.Date = class extends real {
        constructor(...at) {
          super(...(at.length ? at : [real.now() + off]));
        }
        static now() {
          return real.now() + off;
        }
      };
    }, minutes * 60_000);
    await v.signIn({ hash: "#/keys?search=" + encodeURIComponent(k.name) });
    await v.page.getByRole("row").filter({ hasText: k.name }).getByText(/^(just now|1 minute ago)$/).waitFor();
  });
}
