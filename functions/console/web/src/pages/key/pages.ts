// A list that grows by a page at a time, each from where the one before ended.
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, type Request } from "../../api";
import { readPage, type Rows } from "../paged";

// There are several such lists on a page, and what is asked of one is mostly the newest.
const pageSize = 20;
const retryMs = 5000;

/** Begins anew where path, query or version change; with the last, the old rows stay meanwhile. */
export function usePages<T>(path: string, query: NonNullable<Request["query"]>, version: number) {
  const [state, set] = useState<Rows<T> & { loading: boolean; error?: ApiError }>({ rows: [], loading: true });
  const [turn, again] = useState(0);
  const running = useRef<AbortController>();
  const timer = useRef<ReturnType<typeof setTimeout>>();
  const asked = JSON.stringify([path, query]);

  const read = async (rows: T[], cursor: string | undefined) => {
    running.current?.abort();
    clearTimeout(timer.current);
    const aborter = (running.current = new AbortController());
    set((s) => ({ ...s, loading: true, error: undefined }));
    try {
      const page = await readPage<T>(path, { ...query, cursor }, aborter.signal, pageSize);
      if (!aborter.signal.aborted) set({ rows: [...rows, ...page.rows], next: page.next, loading: false });
    } catch (e) {
      if (aborter.signal.aborted) return;
      const error = e instanceof ApiError ? e : new ApiError(0, "unexpected", "Something went wrong in the console: " + String(e));
      set((s) => ({ ...s, loading: false, error }));
      if (error.passing) timer.current = setTimeout(() => void read(rows, cursor), Math.max(retryMs, error.retryAfter * 1000));
    }
  };

  const last = useRef(asked);
  useEffect(() => {
    if (last.current !== asked) set({ rows: [], loading: true });
    last.current = asked;
    void read([], undefined);
    return () => {
      running.current?.abort();
      clearTimeout(timer.current);
    };
  }, [asked, version, turn]);

  return { ...state, older: () => read(state.rows, state.next), reload: () => again((n) => n + 1) };
}
