// Where we are: the address's fragment, "#/keys?environment=staging". The server sees
// none of it, so one page serves every stage, and reload, back and a link that is sent to
// somebody all keep what was chosen.
import { useEffect, useState } from "preact/hooks";

export interface Place {
  /** Decoded segments: ["keys", "key_8fQ2mZ0a"]. */
  path: string[];
  query: URLSearchParams;
}

function parse(hash: string): Place {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  return { path: path.split("/").filter(Boolean).map(decode), query: new URLSearchParams(query) };
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** The link to a place; empty and undefined values are left out. */
export function href(path: string, query: Record<string, string | undefined> = {}): string {
  const q = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value) q.set(name, value);
  const text = q.toString();
  return "#/" + path.replace(/^\//, "") + (text ? "?" + text : "");
}

/**
 * Goes there. "replace": back does not come back here, for what is typed into filters.
 * "anyway": nobody is asked, since what was guarded is saved or given up.
 */
export function go(to: string, how?: "replace" | "anyway"): void {
  if (how === "anyway") guards.clear();
  if (how === "replace") {
    history.replaceState(null, "", to);
    here = location.hash;
    dispatchEvent(new HashChangeEvent("hashchange"));
  } else {
    location.hash = to;
  }
}

export function usePlace(): Place {
  const [place, set] = useState(() => parse(location.hash));
  useEffect(() => {
    const moved = () => set(parse(location.hash));
    addEventListener("hashchange", moved);
    moved(); // a part of the page may have gone on before the page listened
    return () => removeEventListener("hashchange", moved);
  }, []);
  return place;
}

// What must not be lost by leaving: a secret that is shown once, edits that are not saved.
const guards = new Set<string>();

function mayLeave(): boolean {
  for (const text of guards) if (!confirm(text)) return false;
  return true;
}

/** Something on the page would be lost. */
export const guarded = () => guards.size > 0;

/** While text is not "", leaving the page asks first. */
export function useLeaveGuard(text: string): void {
  useEffect(() => {
    if (!text) return;
    const ask = (e: BeforeUnloadEvent) => e.preventDefault();
    guards.add(text);
    addEventListener("beforeunload", ask);
    return () => {
      guards.delete(text);
      removeEventListener("beforeunload", ask);
    };
  }, [text]);
}

// Every change of the fragment comes by here first, a link's and the back button's too. If
// the answer is no, the address is set back.
let here = location.hash;
addEventListener("hashchange", (e) => {
  if (location.hash === here) return;
  if (!mayLeave()) {
    e.stopImmediatePropagation();
    history.replaceState(null, "", here || "#/");
    return;
  }
  here = location.hash;
}, true);
