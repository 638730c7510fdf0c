// How near a key is to its limits.
import { number } from "./format";
import "./limits.css";
import type { Key } from "./types";

export interface LimitUse { used: number; requests: number; span: string; per: string }

/** Every limit of the key with what is used of it, the rate limit first. */
export function limitsOf(key: Key): LimitUse[] {
  const list = [{ used: key.rateUsed, requests: key.rateLimit, span: "in the last minute", per: "a minute" }];
  for (const l of key.limits) list.push({ used: l.used ?? 0, requests: l.requests, ...(l.window === "hour" ? { span: "in the last hour", per: "an hour" } : { span: "in the last 24 hours", per: "a day" }) });
  if (key.quota) list.push({ used: key.quota.used ?? 0, requests: key.quota.requests, span: "this month", per: "a month" });
  return list;
}

const share = (l: LimitUse) => l.used / l.requests;

/** The limit that the next refusal would come from: of those equally near, the first. */
export const nearestLimit = (list: LimitUse[]) => list.reduce((a, b) => (share(b) > share(a) ? b : a));

/** "12 of 100 a minute", and a bar that says the same, to readers in full. */
export function LimitMeter({ limit }: { limit: LimitUse }) {
  const text = `${number(limit.used)} of ${number(limit.requests)}`;
  return (
    <span class={share(limit) >= 0.8 ? "limit near" : "limit"}>
      <meter min={0} max={limit.requests} high={limit.requests * 0.8} value={limit.used} aria-label={`${text} ${limit.span}`} />
      <span aria-hidden="true"><span class="nowrap">{text}</span> <span class="per nowrap">{limit.per}</span></span>
    </span>
  );
}
