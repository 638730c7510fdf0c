// node bench.mjs: how soon each page is there, what it asks for and how many bytes come, in
// Chromium against make run's gateway with 5,000 keys. The bytes are as the gateway sends
// them, compressed; times are of this machine, where no network is between.
import { copyKeys } from "./seeds.mjs";
import { Visitor, World } from "./world.mjs";

const runs = 5;
const keys = 5000;

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];

const pages = [
  ["sign in", ""],
  ["API Keys", "#/keys", "table.cards tbody tr"],
  ["API Keys, searched", "#/keys?search=2500", "table.cards tbody tr"],
  ["Create API Key", "#/keys/new", "form button[type=submit]"],
  ["Key details", (root) => "#/keys/" + root.keyId, "dl.facts"],
  ["Logs", "#/logs", "main table tbody tr"],
  ["Alerts", "#/alerts", "main .empty, main ul.alerts"],
  ["Usage", "#/usage", "main figure, main .empty"],
];

/** Loads a page of one profile; what it took, in milliseconds since the navigation began. */
async function load(v, hash, complete) {
  const requests = [];
  const listen = (r) => requests.push(r);
  await v.page.goto("about:blank");
  v.page.on("requestfinished", listen);
  await v.page.goto(v.address + hash);
  await v.page.locator(complete ?? "form").first().waitFor();
  await v.calm();
  const times = await v.page.evaluate(() => ({
    paint: performance.getEntriesByName("first-contentful-paint")[0].startTime,
    complete: window.changedAt,
  }));
  await v.page.waitForLoadState("networkidle");
  v.page.off("requestfinished", listen);
  const sizes = await Promise.all(requests.filter((r) => /^http/.test(r.url())).map((r) => r.sizes()));
  return { ...times, requests: sizes.length, bytes: sizes.reduce((sum, s) => sum + s.responseHeadersSize + s.responseBodySize, 0) };
}

const world = new World();
await world.begin();
try {
  await copyKeys(world.gateway, "Customer key", keys);
  const root = await world.gateway.must("GET", "/v1/api-keys/self");
  console.log(`${keys.toLocaleString("en")} keys; medians of ${runs} runs, milliseconds; cold: a new browser profile\n`);
  console.log("page                  first paint  all there      cold: first paint  all there  requests    bytes   warm: bytes");
  const first = await Visitor.open(world);
  await first.signIn();
  const session = await first.page.evaluate(() => sessionStorage.getItem("keyreeve.session"));
  await first.close();
  for (const [name, place, complete] of pages) {
    const hash = typeof place === "function" ? place(root) : place;
    const cold = [], warm = [];
    for (let i = 0; i < runs; i++) {
      const v = await Visitor.open(world);
      if (complete) await v.context.addInitScript((s) => location.protocol === "http:" && sessionStorage.setItem("keyreeve.session", s), session);
      // When the last thing changed, and not when it was looked.
      await v.context.addInitScript(() => new MutationObserver(() => (window.changedAt = performance.now())).observe(document, { subtree: true, childList: true, characterData: true }));
      cold.push(await load(v, hash, complete));
      warm.push(await load(v, hash, complete));
      await v.close();
    }
    const of = (list, what) => String(Math.round(median(list.map((l) => l[what]))));
    console.log(name.padEnd(20), of(warm, "paint").padStart(12), of(warm, "complete").padStart(10), of(cold, "paint").padStart(22), of(cold, "complete").padStart(10),
      of(cold, "requests").padStart(9), of(cold, "bytes").padStart(8), of(warm, "bytes").padStart(13));
  }
} finally {
  await world.end();
}
