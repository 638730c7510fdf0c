// What the lists that a cursor leads through have in common: logs and alerts.
import { useEffect, useRef, useState } from "preact/hooks";
import { get, type Request } from "../api";
import type { Query } from "../query";
import { go, href } from "../router";
import type { PageMeta } from "../types";
import { Button, TextField } from "../ui";

export interface Rows<T> { rows: T[]; next?: string }

const pageSize = 50;
const most = 6;

/**
 * Reads a page. One may be short, or empty, and have a next one, where a filter lets little
 * through: then it goes on by itself for a while.
 */
export async function readPage<T>(path: string, query: Request["query"], signal: AbortSignal, size = pageSize): Promise<Rows<T>> {
  const rows: T[] = [];
  let next = query?.cursor as string | undefined;
  for (let i = 0; i < most; i++) {
    const { data, meta } = await get<T[], PageMeta>(path, { ...query, cursor: next, limit: size - rows.length }, signal);
    rows.push(...data);
    next = meta.next;
    if (!next || rows.length >= size) break;
  }
  return { rows, next };
}

/** The filters of the place, and how they change: a change begins at the newest row. */
export function useFilters(page: string, query: URLSearchParams) {
  const all = Object.fromEntries(query);
  return {
    get: (name: string) => all[name] ?? "",
    set: (changed: Record<string, string>) => go(href(page, { ...all, cursor: "", ...changed }), "replace"),
    clear: () => go(href(page)),
    any: Object.keys(all).some((name) => name !== "cursor"),
    cursor: all.cursor,
    older: (cursor: string) => go(href(page, { ...all, cursor })),
    newest: () => go(href(page, { ...all, cursor: "" })),
  };
}

export type Filters = ReturnType<typeof useFilters>;

function turn(where: () => void): void {
  where();
  scrollTo(0, 0);
}

export function Turner({ label, text, filters, next }: { label: string; text: string; filters: Filters; next?: string }) {
  return (
    <nav class="pager" aria-label={label}>
      <span role="status">{text}</span>
      {(filters.cursor || next) && (
        <>
          <Button disabled={!filters.cursor} onClick={() => turn(filters.newest)}>Newest</Button>
          <Button disabled={!next} onClick={() => turn(() => filters.older(next ?? ""))}>Older</Button>
        </>
      )}
    </nav>
  );
}

/** The filter by a key's id; what is no id yet is not asked for. */
export function KeyFilter({ filters, error }: { filters: Filters; error?: string }) {
  const there = filters.get("keyId");
  const [text, setText] = useState(there);
  useEffect(() => setText(there), [there]);
  const value = text.trim(), good = !value || /^key_[0-9A-Za-z]{8}$/.test(value);
  return (
    <TextField label="Key ID" placeholder="key_…" value={text} spellcheck={false} error={good ? error : "An ID such as key_8fQ2mZ0a."}
      onValue={(v) => {
        setText(v);
        if (/^(key_[0-9A-Za-z]{8})?$/.test(v.trim())) filters.set({ keyId: v.trim() });
      }} />
  );
}

/** The last answer while the next one is on its way, so that a list does not jump. */
export function useLast<T>(q: Query<T>): T | undefined {
  const last = useRef<T>();
  if (q.data) last.current = q.data;
  return q.data ?? (q.loading ? last.current : undefined);
}
