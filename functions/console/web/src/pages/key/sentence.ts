// An audit event as a sentence without its subject: "changed the rate limit from 20 to 50".
import { dateTime, number, plural } from "../../format";
import { holds, permissionLabel } from "../../permissions";
import type { AuditEvent, Permission } from "../../types";

type Values = Record<string, string>;

const words = (text: string | undefined) => (text ?? "").split(" ").filter(Boolean);
const quoted = (text: string | undefined) => `“${text ?? ""}”`;
const when = (text: string | undefined, otherwise: string) => (text ? dateTime(text) : otherwise);
const count = (text: string | undefined) => number(Number(text ?? 0));

/** "hour=1000 day=5000", as the API keeps it. */
function limitsText(text: string | undefined): string {
  const list = words(text).map((w) => w.split("=")).map(([window, n]) => `${count(n)} ${window === "hour" ? "an hour" : "a day"}`);
  return list.join(" and ") || "none";
}

/** "10000@1": requests and refill day. */
function quotaText(text: string | undefined): string {
  if (!text) return "none";
  const [n, day] = text.split("@");
  return `${count(n)} a month from day ${day}`;
}

function moved(what: string, was: string, now: string): string {
  return `changed ${what} from ${was} to ${now}`;
}

function sets(what: string, every: string, was: string[], now: string[]): string {
  if (now.length === 0) return `opened it to ${every}`;
  if (was.length === 0) return `confined it to the ${what} ${now.join(", ")}`;
  const added = now.filter((w) => !was.includes(w)), taken = was.filter((w) => !now.includes(w));
  return [added.length > 0 && `added the ${what} ${added.join(", ")}`, taken.length > 0 && `took away the ${what} ${taken.join(", ")}`].filter(Boolean).join(" and ");
}

function permissions(was: string[], now: string[], catalogue: Permission[]): string {
  const label = (p: string) => permissionLabel(catalogue, p);
  const gains = now.filter((p) => !holds(was, p)), loses = was.filter((p) => !holds(now, p));
  const parts = [gains.length > 0 && "granted " + gains.map(label).join(", "), loses.length > 0 && "took away " + loses.map(label).join(", ")].filter(Boolean);
  return parts.join(" and ") || "named its permissions otherwise: " + now.map(label).join(", ");
}

/** What each field's change is called; what is not here follows from another one. */
const fields: [string, (b: Values, a: Values, catalogue: Permission[]) => string][] = [
  ["name", (b, a) => moved("the name", quoted(b["name"]), quoted(a["name"]))],
  ["owner", (b, a) => moved("the owner", b["owner"] ? quoted(b["owner"]) : "nobody", a["owner"] ? quoted(a["owner"]) : "nobody")],
  ["permissions", (b, a, catalogue) => permissions(words(b["permissions"]), words(a["permissions"]), catalogue)],
  ["customers", (b, a) => sets("customers", "every customer", words(b["customers"]), words(a["customers"]))],
  ["networks", (b, a) => sets("networks", "every network", words(b["networks"]), words(a["networks"]))],
  ["plan", (b, a) => moved("the plan", b["plan"] ?? "none", a["plan"] ?? "none")],
  ["rateLimit", (b, a) => moved("the rate limit", count(b["rateLimit"]), count(a["rateLimit"]))],
  ["limits", (b, a) => moved("the further limits", limitsText(b["limits"]), limitsText(a["limits"]))],
  ["quota", (b, a) => moved("the quota", quotaText(b["quota"]), quotaText(a["quota"]))],
  ["notBefore", (b, a) => moved("the start", when(b["notBefore"], "at once"), when(a["notBefore"], "at once"))],
  ["expiresAt", (b, a) => moved("the expiry", when(b["expiresAt"], "never"), when(a["expiresAt"], "never"))],
  ["active", (_, a) => (a["active"] === "true" ? "switched the key on" : "switched the key off")],
  ["primary", (_, a) => (a["primary"] === "true" ? "made the key primary" : "took the primary mark from the key")],
];

export function sentence({ action, before, after }: AuditEvent, catalogue: Permission[]): string {
  switch (action) {
    case "account.create": return "created the account and this key.";
    case "key.create": return after["canary"] === "true" ? "created the key as a canary." : "created the key.";
    case "key.delete": return "deleted the key.";
    case "session.create": return "signed in to the console.";
    case "session.end": return "ended a console session.";
    case "key.regenerate": return `gave the key a new secret; the old one ${after["graceUntil"] ? "stops " + when(after["graceUntil"], "") : "stopped at once"}.`;
    case "key.revoke_descendants": {
      const n = words(after["keys"]).length;
      return n > 0 ? `switched off ${plural(n, "key")} that this one had created.` : "switched the key off, together with the key that it descends from.";
    }
  }
  const parts = fields.filter(([f]) => before[f] !== after[f]).map(([, say]) => say(before, after, catalogue));
  if (before["graceUntil"] && !after["graceUntil"]) parts.push("retired the old secret");
  else if (before["graceUntil"] !== after["graceUntil"]) parts.push("moved the end of the old secret to " + when(after["graceUntil"], ""));
  if (parts.length === 0 && before["limitNamed"] !== after["limitNamed"]) parts.push("fixed the rate limit, whatever the plan");
  return (parts.join("; ") || "did " + action) + ".";
}
