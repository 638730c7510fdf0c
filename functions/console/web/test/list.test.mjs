// The API Keys list: finding keys among many.
import assert from "node:assert/strict";
import { test } from "node:test";
import { copyKeys, createKey, createKeys, send } from "./seeds.mjs";
import { eventually, start } from "./world.mjs";

const world = await start();
const { gateway } = world;

const made = await createKeys(gateway, [
  { name: "Filter alpha", permissions: ["customers:read"], customers: ["cus_a"], rateLimit: 50, owner: "team alpha" },
  { name: "Filter beta", permissions: ["customers:*"], environment: "staging", expirationDays: 30 },
  { name: "Filter gamma", permissions: ["licenses:manage", "customers:read", "telemetry:write", "invoices:read"], customers: ["cus_a", "cus_b"] },
  { name: "Filter delta", permissions: ["*"], environment: "development" },
  { name: "Filter epsilon", permissions: ["telemetry:write"], isActive: false },
]);
const [alpha, , gamma] = made;
await gateway.must("DELETE", "/v1/api-keys/" + (await createKey(gateway, { name: "Filter zeta", permissions: ["telemetry:write"] })).keyId);

const table = (page) => page.getByRole("table", { name: "API keys" });
const names = (page) => table(page).getByRole("row").getByRole("link").allInnerTexts();

/** Waits until the list shows these keys, in this order. */
async function shows(page, want, text = "the list") {
  let got;
  await eventually(`${text}: ${want.join(", ")}`, async () => {
    got = await names(page).catch(() => []);
    return JSON.stringify(got) === JSON.stringify(want);
  }, { seconds: 8 }).catch((e) => {
    throw new Error(`${e.message}; it shows ${got.join(", ")}`);
  });
}

world.test("a row says what there is to know of a key", async (v) => {
  await send(gateway, alpha.apiKey, 3);
  await v.signIn({ hash: "#/keys?search=Filter" });
  const row = (name) => table(v.page).getByRole("row").filter({ has: v.page.getByRole("link", { name, exact: true }) });
  const text = await row("Filter alpha").innerText();
  for (const part of [alpha.keyPrefix, "Production", "Active", "Customer Read", "50"]) assert.ok(text.includes(part), `${part} in ${text}`);
  assert.ok(!text.includes("Never\tNever"), "used just now");
  assert.match(await row("Filter gamma").innerText(), /License Management, Customer Read \+2|Customer Read, License Management \+2|\+2/);
  assert.match(await row("Filter epsilon").innerText(), /Inactive/);
  const used = row("Filter alpha").locator("time").first();
  assert.match(await used.innerText(), /just now|minute/);
  assert.match(await used.getAttribute("title"), /UTC/);
  await row("Filter alpha").getByRole("link").click();
  await v.heading("Filter alpha").waitFor();
});

world.test("search and every filter narrow the list, together too", async (v) => {
  const { page } = v;
  await v.signIn({ hash: "#/keys?sort=name" });
  await page.getByRole("searchbox", { name: "Search" }).fill("filter");
  const all = ["Filter alpha", "Filter beta", "Filter delta", "Filter epsilon", "Filter gamma"];
  await shows(page, all, "search");

  const filters = [
    ["Environment", { label: "Staging" }, ["Filter beta"]],
    ["Environment", { label: "Development" }, ["Filter delta"]],
    ["Status", { label: "Inactive" }, ["Filter epsilon"]],
    ["Status", { label: "Revoked" }, ["Filter zeta"]],
    ["Permission", { label: "Customer Read" }, ["Filter alpha", "Filter beta", "Filter delta", "Filter gamma"]],
    ["Permission", { label: "License Management" }, ["Filter delta", "Filter gamma"]],
  ];
  for (const [label, choice, want] of filters) {
    await page.getByLabel(label, { exact: true }).selectOption(choice);
    await shows(page, want, `${label} ${choice.label}`);
    await page.getByLabel(label, { exact: true }).selectOption("");
    await shows(page, all, `without ${label}`);
  }
  const customer = page.getByLabel("Customer", { exact: true });
  await customer.fill("cus_b");
  await shows(page, ["Filter gamma"], "customer");
  await customer.fill("cus_a");
  await shows(page, ["Filter alpha", "Filter gamma"], "another customer");
  await page.getByLabel("Permission", { exact: true }).selectOption({ label: "License Management" });
  await shows(page, ["Filter gamma"], "customer and permission");
  await page.getByLabel("Environment", { exact: true }).selectOption({ label: "Staging" });
  await page.getByText("No API key matches").waitFor();
  await v.button("Clear filters").click();
  await page.getByRole("link", { name: "Root key" }).first().waitFor();
  assert.equal(await page.getByRole("searchbox", { name: "Search" }).inputValue(), "");
});

world.test("customers in use are offered", async (v) => {
  await v.signIn();
  await v.page.getByLabel("Customer", { exact: true }).pressSequentially("cus_");
  await eventually("both customers offered", async () =>
    (await v.page.locator("datalist option").evaluateAll((o) => o.map((e) => e.value))).join() === "cus_a,cus_b");
});

world.test("the order can be chosen, by select and by header", async (v) => {
  const { page } = v;
  await v.signIn({ hash: "#/keys?search=Filter" });
  await shows(page, ["Filter epsilon", "Filter delta", "Filter gamma", "Filter beta", "Filter alpha"].sort((a, b) => number(b) - number(a)), "newest first");
  await page.getByLabel("Sort", { exact: true }).selectOption({ label: "Name, Z to A" });
  const down = ["Filter gamma", "Filter epsilon", "Filter delta", "Filter beta", "Filter alpha"];
  await shows(page, down, "by the select");
  assert.equal(await page.getByRole("columnheader", { name: "Name" }).getAttribute("aria-sort"), "descending");
  await page.getByRole("columnheader", { name: "Name" }).getByRole("button").click();
  await shows(page, down.toReversed(), "by the header");
  await page.getByRole("columnheader", { name: "Last used" }).getByRole("button").click();
  assert.match(page.url(), /sort=-?lastUsed/);

  function number(name) {
    return made.find((k) => k.name === name).number;
  }
});

world.test("the address keeps what was chosen: across a reload, going back, and in another tab", async (v) => {
  const { page } = v;
  await v.signIn();
  await page.getByRole("searchbox", { name: "Search" }).fill("Filter");
  await page.getByLabel("Sort", { exact: true }).selectOption({ label: "Name, A to Z" });
  await page.getByLabel("Status", { exact: true }).selectOption({ label: "Active" });
  const want = ["Filter alpha", "Filter beta", "Filter delta", "Filter gamma"];
  await shows(page, want);
  const chosen = async (p) => [
    await p.getByRole("searchbox", { name: "Search" }).inputValue(),
    await p.getByLabel("Status", { exact: true }).inputValue(),
    await p.getByLabel("Sort", { exact: true }).inputValue(),
  ];
  const before = await chosen(page);
  await page.reload();
  await shows(page, want, "after a reload");
  assert.deepEqual(await chosen(page), before);

  await page.getByRole("link", { name: "Filter alpha", exact: true }).click();
  await v.heading("Filter alpha").waitFor();
  await page.goBack();
  await shows(page, want, "after going back");
  assert.deepEqual(await chosen(page), before);

  const tab = await v.tab();
  await v.signIn({ page: tab, hash: new URL(page.url()).hash });
  await shows(tab, want, "in another tab, after signing in");
  assert.deepEqual(await chosen(tab), before);
});

test("120 more keys", async () => {
  await createKeys(gateway, Array.from({ length: 120 }, (_, i) => ({ name: `Paging ${String(i).padStart(3, "0")}`, permissions: ["customers:read"] })));
});

/** Steps to the end with Next; answers the names on each page. */
async function walk(v) {
  const pages = [];
  for (;;) {
    const seen = pages.at(-1);
    await eventually("the next page", async () => {
      const now = await names(v.page).catch(() => []);
      return now.length > 0 && now[0] !== seen?.[0] && (await table(v.page).getAttribute("aria-busy")) !== "true" && now;
    }).then((now) => pages.push(now));
    const next = v.button("Next");
    if (!(await next.isVisible()) || !(await next.isEnabled())) return pages;
    await next.click();
  }
}

world.test("120 keys are on pages that one can step through, there and back", async (v) => {
  await v.signIn({ hash: "#/keys?search=Paging&sort=name" });
  await v.page.getByText("of 120").waitFor();
  const pages = await walk(v);
  const all = pages.flat();
  assert.equal(new Set(all).size, 120, "each key once");
  assert.deepEqual(all, all.toSorted(), "in order");
  assert.ok(pages.length > 1);
  await v.page.reload();
  await shows(v.page, pages.at(-1), "a reload stays on the page");
  for (const want of pages.slice(0, -1).toReversed()) {
    await v.button("Previous").click();
    await shows(v.page, want, "one back");
  }
  assert.ok(!(await v.button("Previous").isEnabled()), "the first page");
});

test("5,000 keys", () => copyKeys(gateway, "Bulk", 5000));

world.test("among 5,000 keys one is found, and pages come as they did", async (v) => {
  await v.signIn();
  await v.page.getByText("of 5,000").waitFor();
  const first = await names(v.page);
  await v.button("Next").click();
  await eventually("the second page", async () => (await names(v.page))[0] !== first[0]);
  await v.page.getByRole("searchbox", { name: "Search" }).fill("Bulk 3077");
  await shows(v.page, ["Bulk 3077"]);
  await v.button("Clear filters").click();
  await v.page.getByLabel("Sort", { exact: true }).selectOption({ label: "Name, Z to A" });
  await eventually("sorted", async () => (await names(v.page))[0] === "Root key" || (await names(v.page))[0]?.startsWith("Paging"));
});
