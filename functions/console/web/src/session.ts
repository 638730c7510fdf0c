// The session key: made of a management key at sign-in, kept in this tab's sessionStorage
// and nowhere else, and revoked at sign-out. The management key itself is never kept.
import type { Environment, Instant, IssuedKey } from "./types";

export interface Session {
  apiKey: string;
  keyId: string;
  /** The management key that it was made with. */
  parentId: string;
  parentName: string;
  environment: Environment;
  expires: Instant;
}

const place = "keyreeve.session";
let current: Session | null = read();
let ended = "";
let lapse = false;
let holds = 0;
const watchers = new Set<() => void>();

function read(): Session | null {
  try {
    const s = JSON.parse(sessionStorage.getItem(place) ?? "null") as Session | null;
    return s?.apiKey ? s : null;
  } catch {
    return null;
  }
}

export const session = () => current;

/** Why the last session ended, for the sign-in page; "" if nobody needs to be told. */
export const whyEnded = () => ended;

export function begin(issued: IssuedKey & { sessionOf: string }, parentName: string): void {
  current = {
    apiKey: issued.apiKey, keyId: issued.keyId, parentId: issued.sessionOf, parentName,
    environment: issued.environment, expires: issued.expirationTs ?? "",
  };
  ended = "";
  lapse = false;
  sessionStorage.setItem(place, JSON.stringify(current));
  watchers.forEach((w) => w());
}

/** Nobody here ended the session: who signs in again may go on where they were. */
export const lapsed = () => lapse;

export function end(why: string, how?: "lapsed"): void {
  if (!current && holds === 0 && !lapse) return; // while it is held, a better reason may follow
  current = null;
  ended = why;
  lapse = how === "lapsed";
  sessionStorage.removeItem(place);
  if (holds === 0) watchers.forEach((w) => w());
}

/**
 * Keeps what is on the screen although the session ends, until what it answers is called: a
 * key that is shown once must not vanish because the key behind the session was replaced.
 */
export function stay(): () => void {
  holds++;
  return () => {
    if (--holds === 0 && !current) watchers.forEach((w) => w());
  };
}

export function watch(w: () => void): () => void {
  watchers.add(w);
  return () => watchers.delete(w);
}
