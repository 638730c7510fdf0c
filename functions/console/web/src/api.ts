// The one place that calls the API: of the console's own origin and stage, by the session
// key, with every failure made an ApiError that says what a person needs to know.
import { observe } from "./clock";
import { end, session } from "./session";

/** An answer that is no success. status 0: there was no answer at all. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly requestId = "",
    /** What is wrong with which field, by the field's name in the request. */
    readonly fields: Record<string, string> = {},
    /** Seconds until it is worth trying again; 0: not said. */
    readonly retryAfter = 0,
  ) {
    super(message);
  }

  /** It may well work a little later, without anybody changing anything. */
  get passing(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

export interface Request {
  query?: Record<string, string | number | boolean | undefined | null>;
  body?: unknown;
  /** The version that the change is meant for (If-Match). */
  version?: number;
  idempotencyKey?: string;
  signal?: AbortSignal;
  /** A key to use in place of the session's. */
  as?: string;
}

export interface Answer<T, M> { data: T; meta: M }

/** "/production/" or "/": what stands before "console/" in the address. */
const base = location.pathname.replace(/console\/?[^/]*$/, "");

/** The address of the API as a customer would call it, without a slash at the end. */
export const apiAddress = (location.origin + base).replace(/\/$/, "");

export function address(path: string, query: Request["query"] = {}): string {
  const q = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") q.set(name, String(value));
  }
  const text = q.toString();
  return base + path.replace(/^\//, "") + (text ? "?" + text : "");
}

/** API Gateway answers within 29 s, or is not there. */
const patienceMs = 35_000;

async function send(method: string, path: string, r: Request, accept = "application/json"): Promise<Response> {
  const key = r.as ?? session()?.apiKey ?? "";
  if (!key) throw signedOut("");
  const headers: Record<string, string> = { "X-API-Key": key, Accept: accept };
  let body: string | undefined;
  if (r.body !== undefined) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(r.body);
  }
  if (r.version !== undefined) headers["If-Match"] = `"${r.version}"`;
  if (r.idempotencyKey) headers["Idempotency-Key"] = r.idempotencyKey;
  let response: Response;
  const sent = Date.now();
  const late = new AbortController(), timer = setTimeout(() => late.abort(), patienceMs);
  try {
    const signal = AbortSignal.any([late.signal, ...(r.signal ? [r.signal] : [])]);
    response = await fetch(address(path, r.query), { method, headers, body, signal, cache: "no-store", credentials: "omit", redirect: "error" });
  } catch (cause) {
    if (r.signal?.aborted) throw cause;
    throw new ApiError(0, "unreachable", "The API does not answer.");
  } finally {
    clearTimeout(timer);
  }
  observe(response.headers.get("Date"), sent);
  if (response.ok) return response;
  const problem = await failure(response);
  // A refused session is over, whoever ended it. A key that is tried at sign-in is not ours,
  // and one that was signed out meanwhile is not the next one's.
  if (response.status === 401 && r.as === undefined && key === session()?.apiKey) {
    end("Your session has ended: it expired, or the key that you signed in with was changed or revoked.", "lapsed");
    throw signedOut(problem.requestId);
  }
  throw problem;
}

const signedOut = (requestId: string) => new ApiError(401, "session_ended", "Your session had ended. Repeat this once you are signed in again.", requestId);

async function failure(response: Response): Promise<ApiError> {
  let code = "unexpected", message = `The API answered ${response.status}.`, requestId = "";
  const fields: Record<string, string> = {};
  try {
    const { error } = (await response.json()) as { error: { code: string; message: string; requestId: string; fields?: { field: string; message: string }[] } };
    ({ code, message, requestId } = error);
    for (const f of error.fields ?? []) fields[f.field] ??= f.message;
  } catch {
    // Not in the common shape: the status has to do.
  }
  return new ApiError(response.status, code, message, requestId, fields, Number(response.headers.get("Retry-After")) || 0);
}

/** Calls the API and answers what is in the envelope. Throws ApiError. */
export async function call<T, M = unknown>(method: string, path: string, r: Request = {}): Promise<Answer<T, M>> {
  const response = await send(method, path, r);
  try {
    return (await response.json()) as Answer<T, M>;
  } catch (cause) {
    if (r.signal?.aborted) throw cause;
    throw new ApiError(0, "unreachable", "The API's answer broke off.");
  }
}

export const get = <T, M = unknown>(path: string, query?: Request["query"], signal?: AbortSignal) => call<T, M>("GET", path, { query, signal });

const mostPages = 100;

/**
 * Saves an answer as a file: the sheets that the API writes, all their pages in one. false:
 * there is more than it took.
 */
export async function download(path: string, query: Request["query"], name: string): Promise<boolean> {
  const parts: string[] = [];
  let next: Request["query"] | undefined = { ...query, format: "csv" };
  while (next && parts.length < mostPages) {
    try {
      const response = await send("GET", path, { query: next }, "text/csv");
      const text = await response.text();
      // The first line of each names the columns.
      parts.push(parts.length ? text.slice(text.indexOf("\n") + 1) : text);
      const following = /^<\?(.*)>; rel="next"$/.exec(response.headers.get("Link") ?? "")?.[1];
      next = following ? Object.fromEntries(new URLSearchParams(following)) : undefined;
    } catch (e) {
      // A long sheet may take more requests than its key has in a minute.
      if (!(e instanceof ApiError && e.status === 429 && e.retryAfter && parts.length)) throw e;
      await new Promise((r) => setTimeout(r, e.retryAfter * 1000));
    }
  }
  const url = URL.createObjectURL(new Blob(parts, { type: "text/csv" }));
  const a = document.createElement("a");
  a.href = url;
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
  return !next;
}
