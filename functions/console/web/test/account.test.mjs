// Logs, alerts and usage of all keys; and names that do harm where text is taken for more.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { alarm, createKey, createKeys, hostileNames, logged, send } from "./seeds.mjs";
import { eventually, start } from "./world.mjs";

const world = await start();
const { gateway } = world;

const [busy, idle] = await createKeys(gateway, [
  { name: "Busy", permissions: ["customers:read", "telemetry:write"] },
  { name: "Less busy", environment: "staging", permissions: ["customers:read"] },
]);
await Promise.all([
  send(gateway, busy.apiKey, 6), send(gateway, busy.apiKey, 3, "/v1/licenses"), send(gateway, busy.apiKey, 2, "/v1/telemetry", "POST"),
  send(gateway, idle.apiKey, 2, "/staging/v1/customers"),
]);
await logged(gateway, busy.keyId, 10);
await logged(gateway, idle.keyId, 2);

const requests = (v) => v.page.getByRole("table", { name: "Requests" });
const rows = (v) => requests(v).locator("tbody").getByRole("row");

/** What a button saves. */
async function download(v, button) {
  const [file] = await Promise.all([v.page.waitForEvent("download"), button.click()]);
  return readFile(await file.path(), "utf8");
}

world.test("the log shows who asked for what and what came of it, and can be narrowed", async (v) => {
  const { page } = v;
  await v.signIn({ hash: "#/logs" });
  await rows(v).filter({ hasText: "Busy" }).filter({ hasText: "/v1/customers" }).filter({ hasText: "200" }).first().waitFor();
  await rows(v).filter({ hasText: "Less busy" }).filter({ hasText: "Staging" }).first().waitFor();
  await eventually("this session's own requests", async () => {
    await v.button("Refresh").click();
    return (await rows(v).filter({ hasText: "Root key (session)" }).count()) > 0;
  });
  const refused = rows(v).filter({ hasText: "/v1/licenses" }).first();
  assert.match(await refused.innerText(), /403/);
  assert.match(await refused.getByRole("time").or(refused.locator("time")).first().getAttribute("title"), /UTC/);

  await page.getByLabel("Key ID").fill(busy.keyId);
  await page.getByLabel("Status", { exact: true }).selectOption({ label: "403 Forbidden" });
  await eventually("three refusals", async () => (await rows(v).count()) === 3);
  const address = page.url();
  await page.reload();
  await eventually("three refusals after a reload", async () => (await rows(v).count()) === 3);
  assert.equal(page.url(), address);
  const sheet = (await download(v, v.button("Download CSV"))).trim().split(/\r?\n/);
  assert.equal(sheet.length, 4, "a heading and three rows");
  await v.button("Clear filters").click();
  await page.getByLabel("Environment", { exact: true }).selectOption({ label: "Staging" });
  await eventually("staging's", async () => (await rows(v).count()) === 2);
  await page.getByLabel("Method", { exact: true }).selectOption("POST");
  await page.getByText("No such requests").waitFor();
  await v.button("Clear filters").click();
  await rows(v).filter({ hasText: "Busy" }).first().getByRole("link", { name: "Busy", exact: true }).click();
  await v.heading("Busy").waitFor();
});

world.test("a decoy that somebody presents is an alert, until it is acknowledged", async (v) => {
  const { page } = v;
  const canary = await alarm(gateway, "A decoy");
  await v.signIn();
  await page.getByRole("link", { name: /^Alerts/ }).click();
  await v.heading("Alerts").waitFor();
  const alert = page.getByRole("listitem").filter({ hasText: "A decoy" });
  await alert.getByText("Canary key was used").waitFor();
  await alert.getByText("Critical").waitFor();
  await alert.getByRole("button", { name: "Acknowledge" }).click();
  await alert.getByText(/Acknowledged .* by Root key/).waitFor();
  const [kept] = await gateway.must("GET", "/v1/alerts?keyId=" + canary.keyId);
  assert.ok(kept.acknowledgedAt);
  await page.reload();
  await v.heading("Alerts").waitFor();
  await eventually("no longer among the open ones", async () => (await alert.count()) === 0);
  await page.getByLabel("Status", { exact: true }).selectOption({ label: "Acknowledged" });
  await alert.getByText(/by Root key/).waitFor();
  await alert.getByRole("link", { name: "Show the requests" }).click();
  await v.heading("Logs").waitFor();
  await rows(v).filter({ hasText: "A decoy" }).filter({ hasText: "401" }).filter({ hasText: "Canary key" }).first().waitFor();
});

world.test("usage says which keys are busiest", async (v) => {
  await v.signIn({ hash: "#/usage" });
  const table = v.page.getByRole("table", { name: "Busiest keys" });
  const row = table.getByRole("row").filter({ has: v.page.getByRole("link", { name: "Busy", exact: true }) });
  await row.getByText("11", { exact: true }).waitFor();
  assert.match(await row.innerText(), /%/);
  const names = await table.locator("tbody").getByRole("link").allInnerTexts();
  assert.ok(names.indexOf("Busy") < names.indexOf("Less busy"));
  await v.page.getByRole("figure", { name: /36 hours/ }).waitFor();
  await v.page.getByLabel("Time", { exact: true }).selectOption({ label: "Last 30 days" });
  await v.page.getByRole("figure", { name: /30 days/ }).waitFor();
  await row.getByText("11", { exact: true }).waitFor();
  assert.match(await download(v, v.button("Download CSV")), new RegExp(busy.keyId));
});

world.test("a name is text and nothing else, wherever it is shown", async (v) => {
  const { page } = v;
  page.on("request", (r) => assert.ok(!/\/x$/.test(new URL(r.url()).pathname), "something was loaded by a name"));
  await v.signIn({ hash: "#/keys/new" });
  for (const name of Object.values(hostileNames)) {
    // As a person would: typed, and shown in the dialog.
    await v.go("#/keys/new");
    await page.getByRole("textbox", { name: "Name" }).click();
    await page.keyboard.insertText(name);
    await v.button("Read only").click();
    await v.button("Create API Key").click();
    const once = v.dialog("Save your API key");
    await once.getByText(name, { exact: true }).waitFor();
    await v.button("Copy API key").click();
    await page.getByText("Copied", { exact: true }).waitFor();
    const apiKey = world.secrets.add(await v.clipboard());
    await page.getByRole("checkbox", { name: "I have saved this key somewhere safe" }).check();
    await v.button("Done").click();

    await v.heading(name).waitFor();
    assert.ok((await page.title()).startsWith(name), "in the title");
    const keyId = "key_" + apiKey.split("_").at(-2);
    assert.equal((await gateway.must("GET", "/v1/api-keys/" + keyId)).name, name, "all of it");
    for (const [button, title, cancel] of [["Edit", "Edit ", "Cancel"], ["Regenerate", "Regenerate ", "Cancel"], ["Revoke", "Revoke ", "Cancel"], ["Delete", "Delete ", "Cancel"]]) {
      await v.button(button).click();
      await v.dialog(title + name).waitFor();
      await v.button(cancel).click();
    }
    await v.button("Revoke").click();
    await v.button("Revoke key").click();
    await page.getByText(`Revoked “${name}”`).first().waitFor();
    await page.getByRole("main").getByText("Inactive").first().waitFor();
    await v.button("Activate").click();
    await v.button("Activate key").click();
    await v.button("Revoke").waitFor();
    while (await v.button("Dismiss").count()) await v.button("Dismiss").first().click();
    await send(gateway, apiKey, 1);
    await logged(gateway, keyId, 1);

    for (const hash of ["#/keys", "#/logs", "#/usage"]) {
      await v.go(hash);
      await page.getByRole("link", { name, exact: true }).first().waitFor();
    }
    await v.go("#/keys?search=" + encodeURIComponent(name));
    await page.getByRole("table", { name: "API keys" }).getByRole("link", { name, exact: true }).waitFor();
    await page.getByText("1 key", { exact: true }).waitFor();
    assert.equal(await page.locator("img, iframe, object, embed, script:not([src])").count(), 0);
  }

  await alarm(gateway, hostileNames.markup + " decoy");
  await v.go("#/alerts");
  await page.getByRole("link", { name: hostileNames.markup + " decoy", exact: true }).waitFor();
  await v.go("#/logs");
  const sheet = await download(v, v.button("Download CSV"));
  assert.ok(sheet.includes("HYPERLINK"), "the name is in the sheet");
  assert.ok(!/(^|,)"?[=+@-]/m.test(sheet), "no cell of it is a formula");
});
