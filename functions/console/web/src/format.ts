// Texts of times and numbers, in the viewer's own zone and language.
import { now } from "./clock";
import type { Effective, Instant } from "./types";

const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const short = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const numbers = new Intl.NumberFormat();

export const number = (n: number) => numbers.format(n);
export const plural = (n: number, one: string, many = one + "s") => `${number(n)} ${n === 1 ? one : many}`;

export const dateTime = (t: Instant) => short.format(new Date(t));
export const exactTime = (t: Instant) => full.format(new Date(t));
export const date = (t: Instant) => day.format(new Date(t));
export const timeOfDay = (t: Instant) => clock.format(new Date(t));

/** The same moment in UTC: "2026-11-22 10:00:00 UTC". */
export const utc = (t: Instant) => new Date(t).toISOString().replace("T", " ").replace(/\.\d+Z$/, " UTC");

const units: [Intl.RelativeTimeFormatUnit, number][] = [
  ["year", 31_536_000], ["month", 2_592_000], ["week", 604_800], ["day", 86_400], ["hour", 3600], ["minute", 60],
];

/** "3 minutes ago", "in 2 days"; within a minute "just now" or "in a moment". */
export function ago(t: Instant): string {
  const seconds = (Date.parse(t) - now()) / 1000;
  for (const [unit, length] of units) {
    if (Math.abs(seconds) >= length) return relative.format(Math.trunc(seconds / length), unit);
  }
  return seconds > 5 ? "in a moment" : "just now";
}

/** When a change holds: "at once on guarded routes, everywhere else by 12:03:11 at the latest". */
export function effectiveText(e: Effective | undefined): string {
  if (!e) return "";
  const guarded = e.guarded === "now" ? "in force now on guarded routes" : `in force on guarded routes from ${exactTime(e.guarded)}`;
  return `${guarded}, on all others by ${timeOfDay(e.unguardedBy)} at the latest`;
}

export const environmentName: Record<string, string> = { production: "Production", staging: "Staging", development: "Development" };

/** "License Management, Customer Read +2". */
export function summary(labels: string[], shown = 2): string {
  if (labels.length === 0) return "None";
  const rest = labels.length - shown;
  return labels.slice(0, shown).join(", ") + (rest > 0 ? ` +${rest}` : "");
}
