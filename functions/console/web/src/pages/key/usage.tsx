// How much a key is used: by hour or day and by status, and which of its permissions.
import { useEffect, useState } from "preact/hooks";
import { get } from "../../api";
import { Bars, statusNames, statusParts } from "../../charts";
import { now } from "../../clock";
import { number, plural } from "../../format";
import { permissionLabel } from "../../permissions";
import { useQuery } from "../../query";
import { useCatalogue } from "../../store";
import type { Key, KeyUsage, RangeMeta } from "../../types";
import { Button, Failure, Loading, Note, Section, SelectField, Time } from "../../ui";
import { useLast } from "../paged";
import { keyPath } from "./change";
import { useSheet } from "./sheet";

export function UsageSection({ k }: { k: Key }) {
  const [granularity, setGranularity] = useState<"hour" | "day">("hour");
  const usage = useQuery(`usage ${k.keyId} ${granularity}`, (signal) => get<KeyUsage, RangeMeta>(keyPath(k, "/usage"), { granularity }, signal));
  const sheet = useSheet(keyPath(k, "/usage"), { granularity }, `usage-${k.keyId}.csv`);
  const shown = useLast(usage), u = shown?.data;
  return (
    <Section title="Usage" actions={<>{sheet.button}<Button busy={usage.loading && u !== undefined} onClick={usage.reload}>Refresh</Button></>}>
      <div class="filters">
        <SelectField label="Period" value={granularity} onValue={setGranularity} options={[["hour", "36 hours, by hour"], ["day", "30 days, by day"]]} />
      </div>
      {sheet.failure}
      {usage.error && <Failure error={usage.error} what="load the usage" onRetry={usage.reload} />}
      {!u && usage.loading && <div class="reserve"><Loading what="the usage" /></div>}
      {u && (
        <>
          <Bars buckets={u.buckets.map((b) => ({ start: b.start, parts: statusParts(b.status) }))} names={statusNames} granularity={shown.meta.granularity}
            label={shown.meta.granularity === "hour" ? "Requests in the last 36 hours, by status" : "Requests in the last 30 days, by status"} />
          <p class="hint">
            Requests show up here within some minutes. First used: <Time at={u.firstUsed} otherwise="never" />, last used: <Time at={u.lastUsed} relative otherwise="never" />, last refused with 401: <Time at={u.lastRefused} relative otherwise="never" />.
          </p>
          <Drift usage={u} />
          <PermissionsUsed usage={u} />
        </>
      )}
    </Section>
  );
}

const settledMs = 15 * 60_000;

/** Told of a key at rest alone: while it is used, its logs are always a little behind. */
function Drift({ usage: { drift, lastUsed } }: { usage: KeyUsage }) {
  const rests = () => lastUsed === null || now() - Date.parse(lastUsed) > settledMs;
  const [told, tell] = useState(rests);
  useEffect(() => {
    tell(rests());
    const timer = setInterval(() => tell(rests()), 60_000);
    return () => clearInterval(timer);
  }, [lastUsed]);
  if (!told || drift.difference === 0) return null;
  return (
    <Note tone="warning">
      The logs and the guard’s own counter differ by {plural(Math.abs(drift.difference), "request")} over the life of this key:
      the guard let {number(drift.guard)} through, {number(drift.counted)} were logged. The counts above may lack some.
    </Note>
  );
}

function PermissionsUsed({ usage }: { usage: KeyUsage }) {
  const catalogue = useCatalogue().data ?? [];
  const list = usage.permissions ?? [];
  if (list.length === 0) return null;
  return (
    <>
      <h3>Permissions used</h3>
      <div class="table" tabIndex={0} role="region" aria-label="Permissions used">
        <table class="cards">
          <caption class="hidden">Permissions used</caption>
          <thead><tr><th scope="col">Permission</th><th scope="col" class="number">Requests</th><th scope="col">Last used</th></tr></thead>
          <tbody>
            {list.map((p) => (
              <tr key={p.permission}>
                <th scope="row">{permissionLabel(catalogue, p.permission)}</th>
                <td class="number" data-label="Requests">{number(p.requests)}</td>
                <td data-label="Last used"><Time at={p.lastUsed} relative otherwise="Only refused" /></td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}
