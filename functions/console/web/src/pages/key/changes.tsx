// What a change comes to, field by field, in words.
import type { ComponentChildren } from "preact";
import { dateTime, number } from "../../format";
import { holds, permissionLabel } from "../../permissions";
import type { Instant, Key, Permission } from "../../types";
import { Note } from "../../ui";
import { OwnNote, Promptly } from "./change";
import type { Patch } from "./draft";

export interface Change {
  field: keyof Patch | "hour" | "day";
  name: string;
  was: string;
  now: string;
  /** The change in words, where old and new as a whole would be hard to compare. */
  words: string;
  /** The key may do less afterwards. */
  narrows: boolean;
  /** It is another verdict: sessions of this key end. */
  verdict: boolean;
}

/** The key as the patch leaves it, as far as can be told here. */
export const patched = (k: Key, p: Patch): Key => ({ ...k, ...p, limits: p.limits ?? k.limits, quota: p.quota === undefined ? k.quota : p.quota });

const perHour = "requests in any hour", perDay = "requests in any 24 hours";
const atMost = (n: number | undefined, unit: string) => (n === undefined ? "no limit" : `${number(n)} ${unit}`);
const lower = (was: number | undefined, now: number | undefined) => now !== undefined && (was === undefined || now < was);
const at = (t: Instant | null, otherwise: string) => (t ? dateTime(t) : otherwise);
const quotaText = (q: Key["quota"]) => (q ? `${number(q.requests)} requests a month, from day ${q.refillDay} (UTC)` : "no quota");
const limit = (k: Key, window: "hour" | "day") => k.limits.find((l) => l.window === window)?.requests;

/** "gains Customer Write; loses Telemetry Write" */
const gainsAndLoses = (gains: string[], loses: string[]) =>
  [gains.length > 0 && "gains " + gains.join(", "), loses.length > 0 && "loses " + loses.join(", ")].filter(Boolean).join("; ");

/** Of sets in which none at all means every one. */
function setChange(was: string[], now: string[], every: string) {
  const loses = was.filter((c) => !now.includes(c)), list = now.join(", ");
  const words = now.length === 0 ? `opened to ${every}` : was.length === 0 ? `confined to ${list}` : gainsAndLoses(now.filter((c) => !was.includes(c)), loses);
  return { words, was: was.join(", ") || every, now: list || every, narrows: now.length > 0 && (was.length === 0 || loses.length > 0) };
}

/** What is different between two states of a key. */
export function changesOf(was: Key, now: Key, catalogue: Permission[]): Change[] {
  const list: Change[] = [];
  const add = (field: Change["field"], name: string, a: string, b: string, more: Partial<Change> = {}) => {
    if (a !== b) list.push({ field, name, was: a, now: b, words: "", narrows: false, verdict: true, ...more });
  };
  const label = (p: string) => permissionLabel(catalogue, p);
  add("name", "Name", was.name, now.name, { verdict: false });
  add("owner", "Owner", was.owner || "nobody", now.owner || "nobody", { verdict: false });
  const loses = was.permissions.filter((p) => !holds(now.permissions, p));
  add("permissions", "Permissions", was.permissions.map(label).join(", ") || "none", now.permissions.map(label).join(", ") || "none", {
    words: gainsAndLoses(now.permissions.filter((p) => !holds(was.permissions, p)).map(label), loses.map(label)), narrows: loses.length > 0,
  });
  const customers = setChange(was.customers, now.customers, "every customer");
  add("customers", "Customers", customers.was, customers.now, customers);
  const networks = setChange(was.networks, now.networks, "anywhere");
  add("networks", "Networks", networks.was, networks.now, networks);
  add("plan", "Plan", was.plan, now.plan, { narrows: false });
  add("rateLimit", "Rate limit", atMost(was.rateLimit, "requests in any 60 seconds"), atMost(now.rateLimit, "requests in any 60 seconds"), { narrows: now.rateLimit < was.rateLimit });
  add("hour", "Hourly limit", atMost(limit(was, "hour"), perHour), atMost(limit(now, "hour"), perHour), { narrows: lower(limit(was, "hour"), limit(now, "hour")) });
  add("day", "Daily limit", atMost(limit(was, "day"), perDay), atMost(limit(now, "day"), perDay), { narrows: lower(limit(was, "day"), limit(now, "day")) });
  add("quota", "Monthly quota", quotaText(was.quota), quotaText(now.quota), { narrows: lower(was.quota?.requests, now.quota?.requests) });
  add("notBefore", "Works from", at(was.notBefore, "at once"), at(now.notBefore, "at once"), { narrows: (now.notBefore ?? "") > (was.notBefore ?? "") });
  add("expirationTs", "Expires", at(was.expirationTs, "never"), at(now.expirationTs, "never"), { narrows: (now.expirationTs ?? "9") < (was.expirationTs ?? "9") });
  return list;
}

/** "20 → 50", or "gains Customer Write; loses Telemetry Write". */
export function changeText(c: Change): ComponentChildren {
  if (c.words) return <>{c.words}<br /><span class="hint">{c.words.includes(c.now) ? `Until now: ${c.was}` : `Afterwards: ${c.now}`}</span></>;
  return <><span class="was">{c.was}</span><span class="hidden"> becomes</span> <span aria-hidden="true">→</span> <strong>{c.now}</strong></>;
}

export function Changes({ k, changes }: { k: Key; changes: Change[] }) {
  const narrows = changes.some((c) => c.narrows), verdict = changes.some((c) => c.verdict);
  return (
    <>
      <dl class="changes">
        {changes.map((c) => <div key={c.field}><dt>{c.name}</dt><dd>{changeText(c)}</dd></div>)}
      </dl>
      {changes.some((c) => c.field === "plan") && !changes.some((c) => c.field === "rateLimit") && (
        <p class="hint">The rate limit follows the plan, unless it was once set by itself.</p>
      )}
      {narrows && <Note tone="warning">This takes something away. What needs it is refused: <Promptly />.</Note>}
      {verdict && <OwnNote k={k} />}
    </>
  );
}
