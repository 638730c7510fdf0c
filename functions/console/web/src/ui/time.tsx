import { useEffect, useState } from "preact/hooks";
import { ago, dateTime, exactTime, utc } from "../format";
import type { Instant } from "../types";

/**
 * A moment in the viewer's zone, in UTC on hover. relative: "3 minutes ago", kept true while
 * it is looked at, with the exact time on hover. null is what otherwise says.
 */
export function Time({ at, relative, otherwise = "Never" }: { at: Instant | null; relative?: boolean; otherwise?: string }) {
  const [, tick] = useState(0);
  useEffect(() => {
    if (!relative || !at) return;
    const timer = setInterval(() => tick((n) => n + 1), 30_000);
    return () => clearInterval(timer);
  }, [relative, at]);
  if (!at) return <span class="never">{otherwise}</span>;
  return <time dateTime={at} title={relative ? `${exactTime(at)} (${utc(at)})` : utc(at)}>{relative ? ago(at) : dateTime(at)}</time>;
}
