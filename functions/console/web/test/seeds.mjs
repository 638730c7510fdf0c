// Keys, traffic and alerts to show, made as customers make them: by requests to the gateway.
import { eventually } from "./world.mjs";

// More at a time would only wait: every create counts on in the same account item.
const atOnce = 4;

/** Runs job(0) … job(count-1), a few at a time; answers their results in that order. */
export async function times(count, job) {
  const results = new Array(count);
  let next = 0;
  await Promise.all(Array.from({ length: Math.min(atOnce, count) }, async () => {
    while (next < count) {
      const i = next++;
      results[i] = await job(i);
    }
  }));
  return results;
}

/** Makes keys; answers them as the API does, with their plaintexts. */
export const createKeys = (gateway, bodies) => times(bodies.length, (i) => createKey(gateway, bodies[i]));

export const createKey = (gateway, body) => gateway.must("POST", "/v1/api-keys", { body, headers: { "Idempotency-Key": crypto.randomUUID() } });

/** Sends count requests with a key; the statuses that came back. */
export const send = (gateway, key, count, path = "/v1/customers", method = "GET") =>
  times(count, async () => (await gateway.call(method, path, { key, body: method === "POST" ? {} : undefined })).status);

/** Waits until the log has count requests of the key: lines follow within seconds. */
export const logged = (gateway, keyId, count) => eventually(`${count} requests in the log`, async () =>
  (await gateway.must("GET", `/v1/api-keys/${keyId}/requests?limit=100`)).length >= count, { seconds: 60 });

/** Presents a decoy, and waits for the alert that it raises. */
export async function alarm(gateway, name) {
  const canary = await createKey(gateway, { name, canary: true });
  await send(gateway, canary.apiKey, 1);
  await eventually("an alert", async () => (await gateway.must("GET", "/v1/alerts?keyId=" + canary.keyId)).length > 0, { seconds: 60 });
  return canary;
}

/** Names that do harm where text is taken for more than text. */
export const hostileNames = {
  markup: "<img src=x onerror=alert(1)>",
  formula: '=HYPERLINK("http://x")',
  emoji: "🔑".repeat(100),
  rightToLeft: "מפתח \u202eהייצור\u202c של אתר החברה",
};

/**
 * An account as it is after some weeks of use: keys of every status, traffic with answers of
 * several kinds, a grace, alerts.
 */
export async function lively(gateway) {
  const soon = new Date(Date.now() + 3000).toISOString();
  const [site, crm, staging, partner, laptop, old, trial] = await createKeys(gateway, [
    { name: "Main Website Integration", permissions: ["customers:read", "licenses:manage", "telemetry:write"], rateLimit: 300, expirationDays: 365, owner: "web@example.com", limits: [{ window: "day", requests: 50_000 }] },
    { name: "CRM sync", permissions: ["customers:*", "invoices:read"], rateLimit: 60, owner: "Sales operations", quota: { requests: 100_000, refillDay: 1 } },
    { name: "Staging smoke tests", environment: "staging", permissions: ["customers:read"], expirationDays: 30 },
    { name: "Partner: Nordwind", permissions: ["customers:read", "invoices:read"], customers: ["cus_nordwind", "cus_nordwind_2"], networks: ["198.51.100.0/24", "127.0.0.0/8", "::1"], expirationDays: 6 },
    { name: "Anna’s laptop", environment: "development", permissions: ["*"], rateLimit: 100 },
    { name: "Old importer", permissions: ["customers:write"], owner: "data@example.com" },
    { name: "Trial of the new dashboard", permissions: ["customers:read"], expirationTs: soon },
  ]);
  const manager = await createKey(gateway, { name: "Operations", permissions: ["*", "api_keys:read", "api_keys:write"], owner: "ops@example.com" });
  const deleted = await createKey(gateway, { name: "Leaked in a repository", permissions: ["customers:read"] });
  const scheduled = await createKey(gateway, { name: "Black Friday", permissions: ["customers:read"], notBefore: new Date(Date.now() + 4 * 86_400_000).toISOString() });

  await Promise.all([
    send(gateway, site.apiKey, 60), send(gateway, site.apiKey, 8, "/v1/telemetry", "POST"), send(gateway, site.apiKey, 6, "/v1/customers/cus_none"),
    send(gateway, site.apiKey, 5, "/v1/licenses"), send(gateway, crm.apiKey, 75), send(gateway, crm.apiKey, 3, "/v1/telemetry", "POST"),
    send(gateway, partner.apiKey, 4, "/v1/customers/cus_nordwind"), send(gateway, partner.apiKey, 2, "/v1/customers/cus_other"),
    send(gateway, staging.apiKey, 12, "/staging/v1/customers"), send(gateway, laptop.apiKey, 20, "/development/v1/customers"),
    send(gateway, old.apiKey, 3), send(gateway, deleted.apiKey, 9),
  ]);
  await gateway.must("POST", `/v1/api-keys/${old.keyId}/revoke`);
  await gateway.must("DELETE", `/v1/api-keys/${deleted.keyId}`);
  const next = await gateway.must("POST", `/v1/api-keys/${site.keyId}/regenerate`, { body: { graceSeconds: 21_600 } });
  await Promise.all([send(gateway, site.apiKey, 14), send(gateway, next.apiKey, 9), send(gateway, old.apiKey, 2)]);
  await gateway.must("PATCH", `/v1/api-keys/${site.keyId}`, { body: { owner: "Web team", rateLimit: 240 } });
  const canary = await alarm(gateway, "backup-server.env");
  await history(gateway, [[site, 900, 0.03], [crm, 260, 0.08], [partner, 40, 0.02], [laptop, 12, 0.2], [old, 30, 0.5]]);
  await logged(gateway, site.keyId, 90);
  await eventually("an expired key", async () => (await gateway.must("GET", "/v1/api-keys/" + trial.keyId)).status === "expired");
  return { site, crm, staging, partner, laptop, old, trial, manager, deleted, scheduled, canary };
}

/**
 * Gives keys thirty days of requests, in DynamoDB itself: the days' counts, as schema.go of
 * pkg/dynamo draws them, by the hour. keys: [key, requests in its busiest hour, share of
 * those that were the client's fault]. Less at night, less at the week's end.
 */
async function history(gateway, keys) {
  const { accountId } = await gateway.must("GET", "/v1/account");
  const dayMs = 86_400_000, hourMs = 3_600_000, now = Math.floor(Date.now() / hourMs);
  const jobs = keys.flatMap(([key, most, faults]) => Array.from({ length: 30 }, (_, back) => ({ id: key.keyId.replace("key_", ""), most, faults, day: Math.floor(Date.now() / dayMs) - back })));
  await times(jobs.length, async (i) => {
    const { id, most, faults, day } = jobs[i];
    const adds = {};
    for (let hour = 0; hour < 24 && day * 24 + hour < now; hour++) {
      const weekend = [0, 6].includes(new Date(day * dayMs).getUTCDay()) ? 0.35 : 1;
      const daylight = 0.12 + 0.88 * Math.max(0, Math.sin(((hour - 5) / 16) * Math.PI));
      const wobble = 0.75 + (fnv(id + day + hour) % 100) / 200;
      const requests = Math.round(most * weekend * daylight * wobble), bad = Math.round(requests * faults);
      if (!requests) continue;
      Object.assign(adds, { [hour]: requests, [hour + "s2"]: requests - bad, [hour + "g1"]: requests });
      if (bad) adds[hour + "s4"] = bad;
    }
    const names = Object.keys(adds);
    if (!names.length) return;
    await dynamo(gateway, "UpdateItem", {
      TableName: "keyreeve-usage", Key: { pk: { S: `C#${accountId}#${day}#${fnv(id) % 4}` }, sk: { S: id } },
      UpdateExpression: "ADD " + names.map((_, n) => `#n${n} :n${n}`).join(", "),
      ExpressionAttributeNames: Object.fromEntries(names.map((name, n) => ["#n" + n, name])),
      ExpressionAttributeValues: Object.fromEntries(names.map((name, n) => [":n" + n, { N: String(adds[name]) }])),
    });
  });
}

/** The place that pkg/dynamo gives an id (usage_places.go). */
function fnv(text) {
  let h = 0x811c9dc5;
  for (const c of Buffer.from(text)) h = Math.imul(h ^ c, 0x01000193) >>> 0;
  return ((h ^ (h >>> 16)) & 0xffff) >>> 0;
}

/**
 * Brings the account's keys to total by copying one, in DynamoDB itself: made by requests,
 * thousands would take minutes. Copied is what the list reads, the row and the meter; the
 * copies have no details, and nobody has their plaintexts.
 */
export async function copyKeys(gateway, name, total) {
  const { accountId } = await gateway.must("GET", "/v1/account");
  const before = (await gateway.call("GET", "/v1/api-keys?limit=1")).body.meta.total;
  const model = await createKey(gateway, { name, permissions: ["customers:read"] });
  const id = model.keyId.replace("key_", "");
  const account = { pk: { S: "A#" + accountId }, sk: { S: "A" } };
  const row = (await dynamo(gateway, "GetItem", { TableName: "keyreeve-keys", Key: { pk: account.pk, sk: { S: "K#" + String(model.number).padStart(10, "0") } } })).Item;
  const meter = (await dynamo(gateway, "GetItem", { TableName: "keyreeve-meters", Key: { id: { S: id } } })).Item;
  const copies = Array.from({ length: total - before - 1 }, (_, i) => {
    const number = String(model.number + 1 + i), copy = { S: "Copy" + String(i).padStart(4, "0") };
    return {
      row: { ...row, sk: { S: "K#" + number.padStart(10, "0") }, id: copy, num: { N: number }, name: { S: `${name} ${String(i).padStart(4, "0")}` } },
      meter: { ...meter, id: copy },
    };
  });
  const put = (items) => items.map((Item) => ({ PutRequest: { Item } }));
  await times(Math.ceil(copies.length / 12), async (i) => {
    const some = copies.slice(i * 12, (i + 1) * 12); // 25 items at most in a request
    const { UnprocessedItems } = await dynamo(gateway, "BatchWriteItem", { RequestItems: { "keyreeve-keys": put(some.map((c) => c.row)), "keyreeve-meters": put(some.map((c) => c.meter)) } });
    if (Object.keys(UnprocessedItems).length) throw new Error("DynamoDB Local did not write everything");
  });
  await dynamo(gateway, "UpdateItem", {
    TableName: "keyreeve-keys", Key: account, UpdateExpression: "ADD #next :n, #count :n",
    ExpressionAttributeNames: { "#next": "next", "#count": "count" }, ExpressionAttributeValues: { ":n": { N: String(copies.length) } },
  });
}

/** DynamoDB Local looks at a signature's form alone. */
async function dynamo(gateway, action, body) {
  const response = await fetch(gateway.dynamoDB, {
    method: "POST", body: JSON.stringify(body),
    headers: {
      "Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "DynamoDB_20120810." + action, "X-Amz-Date": "20260101T000000Z",
      Authorization: "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0",
    },
  });
  if (!response.ok) throw new Error(`${action}: ${response.status}`);
  return response.json();
}
