// Create API Key, and the dialog that shows the new key once.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createKey } from "./seeds.mjs";
import { Secrets } from "./secrets.mjs";
import { eventually, start } from "./world.mjs";

const world = await start();
const { gateway } = world;

const saveDialog = (v) => v.dialog("Save your API key");
const keyIdOf = (apiKey) => "key_" + apiKey.split("_").at(-2);
const named = (name) => gateway.must("GET", "/v1/api-keys?search=" + encodeURIComponent(name));
const field = (v, label) => v.page.getByRole("textbox", { name: new RegExp("^" + label) });
const permission = (v, label) => v.page.getByRole("group", { name: "Permissions" }).getByRole("checkbox", { name: label, exact: true });

/** Presses a copy button of the dialog, and answers what is in the clipboard then. */
async function copied(v, button) {
  await v.button(button).click();
  await v.page.getByText("Copied", { exact: true }).first().waitFor();
  return v.clipboard();
}

/** Takes the key and closes the dialog as one should. */
async function save(v) {
  const apiKey = world.secrets.add(await copied(v, "Copy API key"));
  await v.page.getByRole("checkbox", { name: "I have saved this key somewhere safe" }).check();
  await v.button("Done").click();
  await saveDialog(v).waitFor({ state: "detached" });
  return apiKey;
}

world.test("what is filled in is what the key is", async (v) => {
  const { page } = v;
  const name = world.unique("Every field");
  await v.signIn();
  await page.getByRole("link", { name: "Create API Key" }).click();
  await v.heading("Create API Key").waitFor();
  await field(v, "Name").fill(name);
  await page.getByRole("radiogroup", { name: "Environment" }).getByRole("radio", { name: "Staging" }).check();
  await permission(v, "Customer Read").check();
  await permission(v, "License Management").check();
  const customers = page.getByRole("combobox", { name: /^Customers/ });
  await customers.pressSequentially("cus_one,cus_two ");
  await customers.pressSequentially("cus_three");
  await customers.press("Enter");
  await v.button("Remove cus_two").click();
  await page.getByLabel("Plan", { exact: true }).selectOption("pro");
  await field(v, "Rate limit").fill("77");
  await page.getByLabel("Expiration", { exact: true }).selectOption({ label: "On a date…" });
  const day = new Date(Date.now() + 40 * 86_400_000).toISOString().slice(0, 10);
  await page.getByLabel("Expiration date").fill(day);
  await page.getByText("More options").click();
  await field(v, "Owner").fill("ops@example.com");
  await field(v, "Networks").fill("127.0.0.1\n::1\n203.0.113.0/24");
  await field(v, "Hourly limit").fill("500");
  await field(v, "Daily limit").fill("4000");
  await field(v, "Monthly quota").fill("90000");
  await field(v, "Refill day").fill("15");
  await v.button("Create API Key").click();
  const apiKey = await save(v);
  await v.heading(name).waitFor();

  const k = await gateway.must("GET", "/v1/api-keys/" + keyIdOf(apiKey));
  assert.deepEqual(
    [k.name, k.environment, k.permissions.toSorted(), k.customers.toSorted(), k.plan, k.rateLimit, k.owner, k.networks.toSorted()],
    [name, "staging", ["customers:read", "licenses:manage"], ["cus_one", "cus_three"], "pro", 77, "ops@example.com", ["127.0.0.1/32", "203.0.113.0/24", "::1/128"]]);
  assert.deepEqual(k.limits.map((l) => [l.window, l.requests]), [["hour", 500], ["day", 4000]]);
  assert.deepEqual([k.quota.requests, k.quota.refillDay], [90_000, 15]);
  // The day's end where the viewer is: Berlin is ahead of UTC.
  assert.match(k.expirationTs, new RegExp(`^${day}T2[23]:59:59`));
});

world.test("what is wrong stands beside its field, and nothing that was filled in is lost", async (v) => {
  const { page } = v;
  v.expects(/status of 40[03]/);
  await v.signIn({ hash: "#/keys/new" });
  const name = world.unique("Faults");
  await v.button("Create API Key").click();
  assert.match(await v.errorOf(field(v, "Name")), /needed/);
  await field(v, "Name").fill(name);
  await permission(v, "Customer Read").check();
  await field(v, "Rate limit").fill("many");
  await v.button("Create API Key").click();
  assert.match(await v.errorOf(field(v, "Rate limit")), /whole number/);
  await field(v, "Rate limit").fill("100000000");
  await v.button("Create API Key").click(); // from here on the API judges
  assert.match(await v.errorOf(field(v, "Rate limit")), /plan/);
  await field(v, "Rate limit").fill("60");
  await page.getByText("More options").click();
  await field(v, "Networks").fill("10.0.0.0/8\nthe-office");
  await page.getByText("More options").click();
  await v.button("Create API Key").click();
  assert.match(await v.errorOf(field(v, "Networks")), /the-office/); // unfolded again, so that it can be seen
  await field(v, "Networks").fill("");
  await page.getByRole("combobox", { name: /^Customers/ }).fill("no such id!");
  await v.button("Create API Key").click();
  assert.match(await v.errorOf(page.getByRole("combobox", { name: /^Customers/ })), /id!/);
  await v.button("Remove id!").click();
  await page.getByLabel("Expiration", { exact: true }).selectOption({ label: "On a date…" });
  await v.button("Create API Key").click();
  assert.match(await v.errorOf(page.getByLabel("Expiration date")), /needed/);
  await page.getByLabel("Expiration date").fill("2020-01-01");
  await v.button("Create API Key").click();
  assert.ok(await v.errorOf(page.getByLabel("Expiration date")));

  assert.equal(await field(v, "Name").inputValue(), name);
  assert.ok(await permission(v, "Customer Read").isChecked());
  assert.equal(await field(v, "Rate limit").inputValue(), "60");
  assert.equal((await named(name)).length, 0, "nothing was made meanwhile");
  await page.getByLabel("Expiration", { exact: true }).selectOption({ label: "30 days" });
  await v.button("Create API Key").click();
  const k = await gateway.must("GET", "/v1/api-keys/" + keyIdOf(await save(v)));
  assert.deepEqual([k.name, k.rateLimit, k.customers, k.permissions], [name, 60, ["no", "such"], ["customers:read"]]);
});

world.test("presets choose permissions, and a key grants no more than its maker holds", async (v) => {
  const manager = await createKey(gateway, { name: world.unique("Small manager"), permissions: ["customers:read", "invoices:read", "telemetry:write", "api_keys:read", "api_keys:write"] });
  const checked = () => v.page.getByRole("group", { name: "Permissions" }).getByRole("checkbox", { checked: true, disabled: false }).evaluateAll((all) => all.map((e) => e.labels[0].innerText));
  await v.signIn({ key: manager.apiKey, hash: "#/keys/new" });
  await v.button("Read only").click();
  assert.deepEqual(await checked(), ["Customer Read", "Invoice Read"]);
  await v.button("All").click();
  assert.deepEqual(await checked(), ["Customer Read", "Invoice Read", "Telemetry Write"]);
  await v.button("None").click();
  assert.deepEqual(await checked(), []);
  assert.ok(await permission(v, "License Management").isDisabled(), "which it does not hold itself");
});

world.test("with the keyboard alone: sign in, create, copy, done, revoke", async (v) => {
  const { page } = v;
  const name = world.unique("By keyboard");
  const press = async (locator, key = "Enter") => {
    await v.tabTo(locator);
    await page.keyboard.press(key);
  };
  await v.go();
  await v.tabTo(page.getByLabel("Management API key"));
  await page.keyboard.type(world.root);
  await page.keyboard.press("Enter");
  await v.arrived("API Keys");
  world.secrets.add(await v.sessionKey());

  await press(page.getByRole("link", { name: "Create API Key" }));
  await v.arrived("Create API Key");
  await v.tabTo(field(v, "Name"));
  await page.keyboard.type(name);
  await press(v.button("Read only"));
  await press(v.button("Create API Key"));
  await saveDialog(v).waitFor();

  await press(v.button("Copy API key"));
  await page.getByText("Copied", { exact: true }).waitFor();
  const apiKey = world.secrets.add(await v.clipboard());
  assert.ok(keyIdOf(apiKey) === (await named(name))[0].keyId, "the key is in the clipboard");
  assert.equal(await gateway.curl("/v1/customers", apiKey), 200);
  await press(page.getByRole("checkbox", { name: "I have saved this key somewhere safe" }), "Space");
  await press(v.button("Done"));
  await v.arrived(name);

  await press(v.button("Revoke"));
  await v.dialog("Revoke " + name).waitFor();
  await press(v.button("Revoke key"));
  await v.button("Activate").waitFor();
  await page.getByRole("main").getByText("Inactive").first().waitFor();
  assert.equal(await gateway.curl("/v1/customers", apiKey), 401, "at its very next request");
});

world.test("the new key cannot be lost by accident, and is gone when the dialog is closed", async (v) => {
  const { page } = v;
  const name = world.unique("Once");
  await v.signIn({ hash: "#/keys?search=nothing" });
  await page.getByRole("link", { name: "Create API Key" }).click();
  await field(v, "Name").fill(name);
  await v.button("Read only").click();
  const answered = page.waitForResponse((r) => r.request().method() === "POST" && r.url().endsWith("/v1/api-keys"));
  await v.button("Create API Key").click();
  const { apiKey } = (await (await answered).json()).data;
  world.secrets.add(apiKey);
  const secret = new Secrets();
  secret.add(apiKey);
  const shown = page.getByRole("textbox", { name: "API key", exact: true });
  await shown.waitFor();
  const there = async () => {
    assert.ok(await shown.isVisible(), "the dialog is there");
    assert.equal(page.url().split("#")[1], "/keys/new");
  };

  // Masked until it is asked for.
  assert.ok(!secret.in(await v.remains()), "masked");
  await v.button("Show API key").click();
  assert.ok((await shown.inputValue()) === apiKey, "shown");
  await v.button("Hide API key").click();
  assert.ok(!secret.in(await v.remains()), "masked again");
  assert.ok(await v.button("Done").isDisabled(), "not before it is said to be saved");

  for (let i = 0; i < 4; i++) await page.keyboard.press("Escape");
  await there();
  await page.mouse.click(5, 5);
  await page.mouse.click(1270, 790);
  await there();
  await v.asked("confirm", "dismiss", () => page.goBack());
  await there();
  await v.asked("beforeunload", "dismiss", () => page.evaluate(() => void setTimeout(() => location.reload())));
  await there();
  await v.asked("beforeunload", "dismiss", () => page.close({ runBeforeUnload: true }));
  await there();

  assert.ok((await copied(v, "Copy .env line")) === "KEYREEVE_API_KEY=" + apiKey, "the .env line");
  const command = await copied(v, "Copy curl command");
  assert.equal(await shell(command + " -s -o /dev/null -w '%{http_code}'"), "200", "the command works as it is");
  assert.ok((await save(v)) === apiKey);
  await v.heading(name).waitFor();

  assert.ok(!secret.in(await v.remains()), "nothing of it is left in the page or the browser's storage");
  await page.goBack();
  await eventually("left the details", () => !page.url().includes(keyIdOf(apiKey)));
  assert.equal(await shown.count(), 0);
  assert.ok(!secret.in(await v.remains()), "nor after going back");
  await page.goForward();
  await page.reload();
  await v.heading(name).waitFor();
  assert.ok(!secret.in(await v.remains()), "nor after a reload");
});

function shell(command) {
  return new Promise((resolve, reject) => {
    const child = execFile("sh", (error, stdout) => (error ? reject(new Error("the shell failed with exit code " + error.code)) : resolve(stdout)));
    child.stdin.end(command);
  });
}

world.test("an answer that is lost on the way makes no second key", async (v) => {
  const { page } = v;
  v.expects(/ERR_FAILED/);
  const name = world.unique("Lost answer");
  await v.signIn({ hash: "#/keys/new" });
  await field(v, "Name").fill(name);
  await v.button("Read only").click();
  let issued;
  await page.route("**/v1/api-keys", async (route) => {
    issued = (await (await route.fetch()).json()).data.apiKey;
    world.secrets.add(issued);
    await route.abort();
  }, { times: 1 });
  await v.button("Create API Key").click();
  await page.getByRole("alert").filter({ hasText: /does not answer/ }).first().waitFor();
  assert.equal(await field(v, "Name").inputValue(), name);
  await v.button("Create API Key").dblclick();
  assert.ok((await save(v)) === issued, "the key that was made, with its secret");
  assert.equal((await named(name)).length, 1);
});

world.test("leaving a form that is filled in asks first", async (v) => {
  await v.signIn({ hash: "#/keys/new" });
  await field(v, "Name").fill("Not to be lost");
  const leave = () => v.page.getByRole("link", { name: "Logs", exact: true }).click();
  await v.asked("confirm", "dismiss", leave);
  assert.equal(await field(v, "Name").inputValue(), "Not to be lost");
  await v.asked("confirm", "accept", leave);
  await v.heading("Logs").waitFor();
});
