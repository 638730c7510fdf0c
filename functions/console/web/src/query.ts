// Reading from the API into a component: once per key, dropped when the key changes, and
// tried again by itself while the API is down.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "./api";
import { reachable } from "./connection";
import { session, watch } from "./session";

export interface Query<T> {
  /** The last answer; while the next is on its way, or has failed, the one before. */
  data: T | undefined;
  error: ApiError | undefined;
  loading: boolean;
  reload: () => void;
  /** Puts an answer in place that a change has brought. */
  set: (data: T) => void;
}

const longestWait = 15_000;

/** key says what is read: another key, another reading. null: nothing is. */
export function useQuery<T>(key: string | null, read: (signal: AbortSignal) => Promise<T>): Query<T> {
  const [state, setState] = useState<{ key: string | null; data?: T; error?: ApiError; loading: boolean }>({ key, loading: key !== null });
  const [turn, setTurn] = useState(0);
  const latest = useRef(read);
  latest.current = read;

  useEffect(() => {
    if (key === null) {
      setState({ key, loading: false });
      return;
    }
    const aborter = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let wait = 1000, refused = false;
    const attempt = async () => {
      try {
        const data = await latest.current(aborter.signal);
        if (aborter.signal.aborted) return;
        reachable(true);
        setState({ key, data, loading: false });
      } catch (e) {
        if (aborter.signal.aborted) return;
        const error = e instanceof ApiError ? e : new ApiError(0, "unexpected", "Something went wrong in the console: " + String(e));
        refused = error.status === 401;
        if (error.status === 0 || error.status > 500) reachable(false);
        setState((s) => ({ key, data: s.key === key ? s.data : undefined, error, loading: false }));
        if (error.passing) {
          timer = setTimeout(attempt, Math.max(wait, error.retryAfter * 1000));
          wait = Math.min(wait * 2, longestWait);
        }
      }
    };
    setState((s) => ({ key, data: s.key === key ? s.data : undefined, error: undefined, loading: true }));
    void attempt();
    const unwatch = watch(() => {
      if (refused && session()) void attempt();
    });
    return () => {
      unwatch();
      aborter.abort();
      clearTimeout(timer);
    };
  }, [key, turn]);

  const reload = useCallback(() => setTurn((n) => n + 1), []);
  const set = useCallback((data: T) => setState({ key, data, loading: false }), [key]);
  const current = state.key === key ? state : { data: undefined, error: undefined, loading: key !== null };
  return { data: current.data, error: current.error, loading: current.loading, reload, set };
}

// What hardly changes is read once and kept until the session ends.
const kept = new Map<string, Promise<unknown>>();

export function keep<T>(name: string, read: () => Promise<T>): Promise<T> {
  let p = kept.get(name) as Promise<T> | undefined;
  if (!p) {
    p = read();
    kept.set(name, p);
    p.catch(() => kept.delete(name));
  }
  return p;
}

export const forget = () => kept.clear();

/** An action that a person starts: busy while it runs, with the error it ended in. */
export function useAction<A extends unknown[]>(act: (...args: A) => Promise<void>) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError>();
  const running = useRef(false);
  const run = async (...args: A) => {
    if (running.current) return; // of a double click the second comes before busy is seen
    running.current = true;
    setBusy(true);
    setError(undefined);
    try {
      await act(...args);
    } catch (e) {
      setError(e instanceof ApiError ? e : new ApiError(0, "unexpected", "Something went wrong in the console: " + String(e)));
    } finally {
      running.current = false;
      setBusy(false);
    }
  };
  return { run, busy, error, clear: () => setError(undefined) };
}
