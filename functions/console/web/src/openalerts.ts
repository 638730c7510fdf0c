// How many alerts nobody has looked at: read once, at sign-in, and kept true by what is done
// here.
import { useEffect, useState } from "preact/hooks";
import { get } from "./api";
import type { Alert, PageMeta } from "./types";

export interface Open { n: number; more: boolean }

const most = 100;
let open: Open | undefined;
const watchers = new Set<(o: Open | undefined) => void>();

export function setOpen(o: Open | undefined): void {
  open = o;
  watchers.forEach((w) => w(o));
}

/** One of them was acknowledged. */
export function oneLess(): void {
  if (open && open.n > 0) setOpen({ ...open, n: open.n - 1 });
}

/** undefined: not known, which is not worth an error. */
export function useOpenAlerts(): Open | undefined {
  const [o, set] = useState(open);
  useEffect(() => {
    watchers.add(set);
    const aborter = new AbortController();
    get<Alert[], PageMeta>("/v1/alerts", { status: "open", limit: most }, aborter.signal)
      .then(({ data, meta }) => setOpen({ n: data.length, more: !!meta.next }), () => {});
    return () => {
      aborter.abort();
      watchers.delete(set);
      open = undefined; // the next one who signs in may see others
    };
  }, []);
  return o;
}
