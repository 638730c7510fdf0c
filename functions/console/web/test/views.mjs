// Every page and dialog of the console, as it is in an account that is in use (seeds.mjs,
// lively): for the checks of how it looks, and for pictures of it.

/**
 * The views, by name. hash: where it is. open: what is done there to see it; close: what is
 * done before one can go on. Each gets a Visitor who is signed in.
 */
export function views(ids, root) {
  const at = (key) => "#/keys/" + key.keyId;
  const press = (button) => (v) => v.button(button).click();
  const cancel = press("Cancel");
  const dialog = (name, key, button, close = cancel) => ({ name, hash: at(key), open: press(button), close });
  const part = (v, name) => v.page.getByRole("region", { name, exact: true });
  return [
    { name: "keys", hash: "#/keys" },
    { name: "keys-filtered", hash: "#/keys?search=e&environment=production&sort=name" },
    { name: "keys-none", hash: "#/keys?search=nothing-is-called-so" },
    { name: "create", hash: "#/keys/new" },
    {
      name: "create-wrong", hash: "#/keys/new",
      async open(v) {
        await v.page.getByText("More options").click();
        await v.page.getByRole("textbox", { name: /^Rate limit/ }).fill("many");
        await v.button("Create API Key").click();
        await v.page.getByRole("alert").waitFor();
      },
      close: (v) => v.asked("confirm", "accept", () => v.page.getByRole("link", { name: "Cancel" }).click()),
    },
    {
      name: "save-your-key", hash: "#/keys/new",
      async open(v) {
        await v.page.getByRole("textbox", { name: "Name" }).fill("Mobile app");
        await v.button("Read only").click();
        await v.button("Create API Key").click();
        await v.dialog("Save your API key").waitFor();
      },
      async close(v) {
        await v.page.getByRole("checkbox", { name: "I have saved this key somewhere safe" }).check();
        await v.button("Done").click();
        await v.heading("Mobile app").waitFor();
        await v.gateway.must("DELETE", "/v1/api-keys/" + v.page.url().split("/").at(-1));
      },
    },
    { name: "key", hash: at(ids.site) },
    { name: "key-in-staging", hash: at(ids.staging) },
    { name: "key-revoked", hash: at(ids.old) },
    { name: "key-expired", hash: at(ids.trial) },
    { name: "key-scheduled", hash: at(ids.scheduled) },
    { name: "key-canary", hash: at(ids.canary) },
    { name: "key-deleted", hash: at(ids.deleted), missing: true },
    { name: "key-unknown", hash: "#/keys/key_AAAAAAAA", missing: true },
    dialog("edit", ids.site, "Edit"),
    {
      name: "edit-review", hash: at(ids.site),
      async open(v) {
        await v.button("Edit").click();
        await v.page.getByLabel("Rate limit").fill("120");
        await v.page.getByRole("dialog").getByRole("checkbox", { name: "License Management" }).uncheck();
        await v.button("Review changes").click();
        await v.button("Save changes").waitFor();
      },
      async close(v) {
        await v.button("Back").click();
        await v.asked("confirm", "accept", () => v.button("Cancel").click());
      },
    },
    {
      name: "edit-conflict", hash: at(ids.crm), changed: true,
      async open(v) {
        await v.button("Edit").click();
        await v.page.getByLabel("Owner").fill("Sales");
        await v.gateway.must("PATCH", "/v1/api-keys/" + ids.crm.keyId, { body: { rateLimit: 61 + Math.floor(Math.random() * 100) } });
        await v.button("Review changes").click();
        await v.button("Save changes").click();
        await v.button("Review their changes").click();
      },
      async close(v) {
        await v.button("Go on with the key as it is now").click();
        await v.asked("confirm", "accept", () => v.button("Cancel").click());
      },
    },
    dialog("regenerate", ids.site, "Regenerate"),
    dialog("revoke", ids.site, "Revoke"),
    dialog("activate", ids.old, "Activate"),
    dialog("make-primary", ids.crm, "Make primary"),
    dialog("delete", ids.crm, "Delete"),
    dialog("delete-primary", root, "Delete", press("Close")),
    dialog("retire", ids.site, "Retire the old secret now"),
    dialog("narrow", ids.crm, "Take away what is not used"),
    {
      name: "simulated", hash: at(ids.partner),
      async open(v) {
        const simulate = part(v, "Simulate");
        await simulate.getByLabel("Path").fill("/v1/customers/cus_other");
        await simulate.getByRole("button", { name: "Simulate request" }).click();
        await simulate.getByText(/confined to 2 customers/).waitFor();
      },
    },
    { name: "logs", hash: "#/logs" },
    { name: "logs-refused", hash: "#/logs?refused=true" },
    { name: "alerts", hash: "#/alerts" },
    {
      name: "alerts-details", hash: "#/alerts",
      open: (v) => v.page.getByRole("listitem").getByText("Details").first().click(),
    },
    { name: "usage", hash: "#/usage" },
    { name: "not-found", hash: "#/nowhere" },
  ];
}

/** Shows a view to see, runs look, and leaves it. */
export async function show(v, view, look) {
  try {
    await visit(v, view, look);
  } catch (e) {
    throw new Error(`${view.name}: ${e.message}`, { cause: e });
  }
}

async function visit(v, view, look) {
  if (view.missing) v.expects(/status of 404/);
  if (view.changed) v.expects(/status of 412/);
  // By the blank page, so that nothing of the view before is left.
  await v.page.evaluate(() => (location.hash = "#/leaving"));
  await v.heading("Not found").waitFor();
  while (await v.button("Dismiss").count()) await v.button("Dismiss").first().click();
  await v.page.evaluate((hash) => (location.hash = hash), view.hash);
  await v.settled();
  await view.open?.(v);
  await v.settled();
  await look();
  await view.close?.(v);
}
