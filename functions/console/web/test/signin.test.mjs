// Signing in and out: what becomes of the management key, and of the session.
import assert from "node:assert/strict";
import { eventually, start } from "./world.mjs";

const world = await start();
const { gateway } = world;

world.test("a management key is exchanged for a session, and nothing of it is left in the browser", async (v) => {
  await v.signIn();
  await v.heading("API Keys").waitFor();

  const session = await v.sessionKey();
  assert.ok(session !== world.root, "the session has a key of its own");
  assert.equal((await gateway.call("GET", "/v1/api-keys/self", { key: session })).status, 200);

  const secret = world.root.slice(-32);
  const left = await v.remains();
  for (let i = 0; i + 12 <= secret.length; i++) assert.ok(!left.includes(secret.slice(i, i + 12)), "no piece of the management key is left");
  assert.ok(left.includes(session), "the session's key is kept");
  const elsewhere = await v.page.evaluate(() => JSON.stringify([document.documentElement.outerHTML, document.cookie, { ...localStorage }, history.state]));
  assert.ok(!world.secrets.in(elsewhere), "and in sessionStorage alone");
  assert.equal((await v.context.cookies()).length, 0);
});

world.test("a reload keeps the session, another tab has to sign in, and a copied address leads where it says", async (v) => {
  await v.signIn({ hash: "#/keys?status=active" });
  const session = await v.sessionKey();
  await v.page.reload();
  await v.heading("API Keys").waitFor();
  assert.ok((await v.sessionKey()) === session, "the same session");

  const tab = await v.tab();
  await v.signIn({ page: tab, hash: "#/logs" });
  await tab.getByRole("heading", { level: 1, name: "Logs" }).waitFor();
  assert.ok((await v.sessionKey(tab)) !== session, "a session of its own");
});

world.test("a wrong key is told beside the field, and what was typed can be mended", async (v) => {
  v.expects(/status of 401/);
  await v.go();
  const field = v.page.getByLabel("Management API key");
  assert.equal(await field.getAttribute("type"), "password");
  for (const wrong of ["nonsense", "kr_live_AAAAAAAA_00000000000000000000000000000000", "two words"]) {
    await field.fill(wrong);
    await v.button("Sign in").click();
    await v.page.getByRole("alert").waitFor();
    assert.equal(await field.inputValue(), wrong);
    assert.equal(await v.sessionKey(), null);
  }
  await field.fill("  " + world.root + "\n");
  await v.button("Sign in").click();
  await v.heading("API Keys").waitFor();
  world.secrets.add(await v.sessionKey());
});

world.test("a key that may not read keys cannot sign in, and is told why", async (v) => {
  v.expects(/status of 403/);
  const { apiKey } = await gateway.must("POST", "/v1/api-keys", { body: { name: world.unique("No manager"), permissions: ["customers:read"] } });
  await v.go();
  await v.page.getByLabel("Management API key").fill(apiKey);
  await v.button("Sign in").click();
  assert.match(await v.page.getByRole("alert").innerText(), /API Key Read/);
  assert.equal(await v.sessionKey(), null);
});

world.test("signing out ends the session at once", async (v) => {
  await v.signIn();
  const session = await v.sessionKey();
  assert.equal(await gateway.curl("/v1/api-keys/self", session), 200);
  await v.button("Sign out").click();
  await v.page.getByLabel("Management API key").waitFor();
  assert.equal(await gateway.curl("/v1/api-keys/self", session), 401);
  assert.ok(!world.secrets.in(await v.remains()), "nothing is left of any key");
  assert.equal(await gateway.curl("/v1/api-keys/self", world.root), 200, "the management key is as it was");

  await v.page.reload();
  await v.page.getByLabel("Management API key").waitFor();
});

world.test("whoever's session has ended is sent to sign in, is told why, and comes back to where they were", async (v) => {
  v.expects(/status of 401/);
  await v.signIn({ hash: "#/keys?environment=production" });
  const self = await gateway.must("GET", "/v1/api-keys/self", { key: await v.sessionKey() });
  await v.settled(); // what is still being read would be told first, and a reload forgets that
  await gateway.must("DELETE", "/v1/sessions/" + self.keyId);
  await v.page.reload();
  await v.page.getByText(/session has ended/).first().waitFor();
  assert.equal(await v.sessionKey(), null);
  await v.page.getByLabel("Management API key").fill(world.root);
  await v.button("Sign in").click();
  await v.heading("API Keys").waitFor();
  world.secrets.add(await v.sessionKey());
  assert.match(v.page.url(), /#\/keys\?environment=production$/);
});

world.test("a session dies with the key that it was made with", async (v) => {
  v.expects(/status of 401/);
  const manager = await gateway.must("POST", "/v1/api-keys", { body: { name: world.unique("Manager"), permissions: ["api_keys:read", "api_keys:write"] } });
  await v.signIn({ key: manager.apiKey });
  const session = await v.sessionKey();
  await gateway.must("POST", `/v1/api-keys/${manager.keyId}/revoke`);
  assert.equal(await gateway.curl("/v1/api-keys", session), 401);
  await v.page.reload();
  await v.page.getByText(/session has ended/).first().waitFor();
});

world.test("the console of a stage works there, with a key of that stage", { stage: "/staging" }, async (v) => {
  const manager = await gateway.must("POST", "/v1/api-keys", {
    body: { name: world.unique("Staging manager"), environment: "staging", permissions: ["api_keys:read", "api_keys:write", "customers:read"] },
  });
  const called = [];
  v.page.on("request", (r) => called.push(new URL(r.url()).pathname));
  await v.signIn({ key: manager.apiKey });
  await v.page.getByRole("banner").getByText("Staging").waitFor();
  await v.page.getByRole("link", { name: manager.name }).waitFor();
  assert.deepEqual(called.filter((p) => !p.startsWith("/staging/")), [], "every request goes to the stage");
  assert.equal(await v.page.getByRole("table", { name: "API keys" }).getByText("Production").count(), 0, "it sees its own environment alone");

  v.expects(/status of 401/);
  await v.button("Sign out").click();
  await v.page.getByLabel("Management API key").fill(world.root);
  await v.button("Sign in").click();
  await v.page.getByRole("alert").waitFor(); // a production key is unknown here
});

world.test("the page forbids what it does not need, and links to nothing outside", async (v) => {
  const response = await v.page.goto(v.address);
  const policy = response.headers()["content-security-policy"] ?? "";
  for (const rule of ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"]) {
    assert.ok(policy.split(/;\s*/).includes(rule), `${rule} in ${policy}`);
  }
  assert.ok(!/unsafe|https?:|\*/.test(policy), policy);
  v.expects(/TrustedHTML|Trusted Type|CSP: |Content Security Policy|Content-Security-Policy/i);
  const refused = await v.page.evaluate(() => {
    try {
      document.body.innerHTML = "<b>x</b>";
      return false;
    } catch {
      return true;
    }
  });
  assert.ok(refused, "no script can make HTML of text");
});
