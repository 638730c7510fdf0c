// Rows of the request log as a table.
import "./requests.css";
import { exactTime, number, utc } from "./format";
import { href } from "./router";
import type { LogRow } from "./types";
import { Copy, EnvironmentTag } from "./ui";
import { refusedText } from "./words";

/** keys: whose request it was stands in each row. busy: the rows are about to change. */
export function RequestTable({ rows, keys, busy }: { rows: LogRow[]; keys?: boolean; busy?: boolean }) {
  return (
    <div class="table" tabIndex={0} role="region" aria-label="Requests, as a table" aria-busy={busy || undefined}>
      <table class="cards requests">
        <caption class="hidden">Requests</caption>
        <thead>
          <tr>
            <th scope="col">Time</th>
            {keys && <th scope="col">Key</th>}
            <th scope="col">Request</th>
            <th scope="col">Status</th>
            <th scope="col" class="number">Latency</th>
            <th scope="col">Source</th>
            <th scope="col">Request ID</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((r) => (
            <tr key={r.id}>
              <td data-label="Time"><time dateTime={r.time} title={utc(r.time)}>{exactTime(r.time)}</time></td>
              {keys && <td data-label="Key"><span class="stack"><KeyName row={r} /><EnvironmentTag environment={r.environment} /></span></td>}
              <td data-label="Request" class="what"><span>{r.method && <b>{r.method}</b>} {r.route ? <code>{r.route}</code> : <Unknown />}</span></td>
              <td data-label="Status" class="result">
                <span class="stack">
                  {r.status === null ? <Unknown /> : <b class={`code c${Math.floor(r.status / 100)}`}>{r.status}</b>}
                  {r.refused && <span class="hint">{refusedText(r.refused)}</span>}
                </span>
              </td>
              <td data-label="Latency" class="number nowrap">{r.latencyMs === null ? <Unknown /> : `${number(r.latencyMs)} ms`}</td>
              <td data-label="Source">
                <span class="stack">
                  {r.sourceIp ?? <Unknown />}
                  {r.userAgent && <span class="hint agent" title={r.userAgent}>{r.userAgent}</span>}
                </span>
              </td>
              <td data-label="Request ID">
                <span class="id"><code title={r.requestId}>{r.requestId.slice(0, 8)}…</code> <Copy variant="quiet" text={() => r.requestId} what={`request ID ${r.requestId.slice(0, 8)}`} /></span>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const Unknown = () => <span class="never">Not known</span>;

// A session has no page of its own, and a key without a name is gone.
function KeyName({ row }: { row: LogRow }) {
  if (!row.keyName) return <code>{row.keyId}</code>;
  if (row.keyName.endsWith(" (session)")) return <span class="name">{row.keyName}</span>;
  return <a class="name" href={href("keys/" + row.keyId)} title={row.keyId}>{row.keyName}</a>;
}
