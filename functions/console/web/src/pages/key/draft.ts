// A key as it is being edited: every field as the text that is typed, and the patch that it
// comes to. Only what differs from the key is sent, so that nobody's change of another field
// is undone by this one.
import type { ApiError } from "../../api";
import type { Instant, Key } from "../../types";

export interface Draft {
  name: string;
  owner: string;
  permissions: string[];
  customers: string[];
  networks: string;
  plan: string;
  rateLimit: string;
  hour: string;
  day: string;
  quota: string;
  refillDay: string;
  notBefore: string;
  expirationTs: string;
}

/** The body of a PATCH. */
export interface Patch {
  name?: string;
  owner?: string;
  permissions?: string[];
  customers?: string[];
  networks?: string[];
  plan?: string;
  rateLimit?: number;
  limits?: { window: "hour" | "day"; requests: number }[];
  quota?: { requests: number; refillDay: number } | null;
  notBefore?: Instant | null;
  expirationTs?: Instant | null;
}

/** A time as a datetime-local field has it, in the viewer's zone. */
function local(t: Instant | null): string {
  if (!t) return "";
  const d = new Date(t);
  return new Date(d.getTime() - d.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

const limitOf = (k: Key, window: "hour" | "day") => String(k.limits.find((l) => l.window === window)?.requests ?? "");

export const draftOf = (k: Key): Draft => ({
  name: k.name,
  owner: k.owner,
  permissions: k.permissions,
  customers: k.customers,
  networks: k.networks.join("\n"),
  plan: k.plan,
  rateLimit: String(k.rateLimit),
  hour: limitOf(k, "hour"),
  day: limitOf(k, "day"),
  quota: String(k.quota?.requests ?? ""),
  refillDay: String(k.quota?.refillDay ?? 1),
  notBefore: local(k.notBefore),
  expirationTs: local(k.expirationTs),
});

export const fields = Object.keys as (d: Draft) => (keyof Draft)[];
const same = (a: string | string[], b: string | string[]) => String(a) === String(b);

/** The fields that were edited. */
export const edited = (was: Draft, d: Draft) => fields(d).filter((f) => !same(was[f], d[f]));

/** The edits, made to the key as it is now in place of as it was. */
export function rebase(edits: Draft, was: Key, now: Key): Draft {
  const base = draftOf(was), next = draftOf(now);
  const mine = Object.fromEntries(edited(base, edits).map((f) => [f, edits[f]]));
  return { ...next, ...mine };
}

/** One to a line; commas and spaces part them too, as they come from elsewhere. */
export const listed = (text: string) => text.split(/[\s,;]+/).filter(Boolean);

export type Faults = Record<string, string>;

const wholeNumber = "must be a whole number, 1 or more";

/** What is to be sent; faults says what the fields hold that cannot be. */
export function patchOf(k: Key, d: Draft): { patch: Patch; faults: Faults } {
  const changed = new Set(edited(draftOf(k), d));
  const patch: Patch = {}, faults: Faults = {};
  const count = (field: keyof Draft): number => {
    const text = String(d[field]).trim();
    if (!/^\d{1,15}$/.test(text) || Number(text) < 1) faults[field] = wholeNumber;
    return Number(text);
  };
  const time = (field: "notBefore" | "expirationTs"): Instant | null => {
    if (!d[field]) return null;
    const t = new Date(d[field]);
    if (!Number.isNaN(t.getTime())) return t.toISOString();
    faults[field] = "must be a date and a time";
    return null;
  };
  if (changed.has("name")) patch.name = d.name;
  if (changed.has("owner")) patch.owner = d.owner;
  if (changed.has("permissions")) patch.permissions = d.permissions;
  if (changed.has("customers")) patch.customers = d.customers;
  if (changed.has("networks")) patch.networks = listed(d.networks);
  if (changed.has("plan")) patch.plan = d.plan;
  if (changed.has("rateLimit")) patch.rateLimit = count("rateLimit");
  if (changed.has("hour") || changed.has("day")) {
    patch.limits = (["hour", "day"] as const).filter((w) => d[w].trim()).map((window) => ({ window, requests: count(window) }));
  }
  if (changed.has("quota") || (changed.has("refillDay") && d.quota.trim())) {
    patch.quota = d.quota.trim() ? { requests: count("quota"), refillDay: count("refillDay") } : null;
  }
  if (changed.has("notBefore")) patch.notBefore = time("notBefore");
  if (changed.has("expirationTs")) patch.expirationTs = time("expirationTs");
  return { patch, faults };
}

/** The API's faults by the fields of the form; what is in none of them is under "". */
export function faultsOf(error: ApiError, patch: Patch, d: Draft): Faults {
  const faults: Faults = {};
  for (const [name, message] of Object.entries(error.fields)) {
    const [, field = "", index = "", rest = ""] = /^(\w+)(?:\[(\d+)\])?(?:\.(\w+))?/.exec(name) ?? [];
    const at = Number(index);
    if (field === "limits" && index) faults[patch.limits?.[at]?.window ?? "hour"] = message;
    else if (field === "quota") faults[rest === "refillDay" ? "refillDay" : "quota"] = message;
    else if (index && (field === "customers" || field === "networks")) faults[field] ??= `${patch[field]?.[at] ?? "One of them"}: ${message}`;
    else if (field in d) faults[field] ??= message;
    else faults[""] ??= message;
  }
  return faults;
}
