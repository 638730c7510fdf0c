// The request log of all keys that the session sees.
import { useMemo } from "preact/hooks";
import { download } from "../api";
import { environmentName, plural } from "../format";
import { useAction, useQuery } from "../query";
import { RequestTable } from "../requests";
import { usePlace } from "../router";
import { useRoutes } from "../store";
import { environments, type LogRow } from "../types";
import { Button, CheckboxField, Empty, Failure, Loading, notify, Page, SelectField, TextField } from "../ui";
import "./logs.css";
import { KeyFilter, readPage, Turner, useFilters, useLast, type Filters } from "./paged";

const codes: [string, string][] = [
  ["2xx", "2xx successful"], ["3xx", "3xx redirected"], ["4xx", "4xx client errors"], ["5xx", "5xx server errors"],
  ["200", "200 OK"], ["201", "201 Created"], ["204", "204 No Content"], ["304", "304 Not Modified"],
  ["400", "400 Bad Request"], ["401", "401 Unauthorized"], ["403", "403 Forbidden"], ["404", "404 Not Found"], ["405", "405 Method Not Allowed"],
  ["409", "409 Conflict"], ["412", "412 Precondition Failed"], ["413", "413 Too Large"], ["422", "422 Unprocessable"], ["429", "429 Too Many Requests"],
  ["500", "500 Internal Error"], ["502", "502 Bad Gateway"], ["503", "503 Unavailable"], ["504", "504 Timed Out"],
];
const methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"];
const names = ["environment", "status", "method", "route", "refused", "keyId", "from", "to"];

export function Logs() {
  const filters = useFilters("logs", usePlace().query);
  const query = Object.fromEntries(names.map((n) => [n, filters.get(n)]));
  const log = useQuery("logs " + JSON.stringify({ ...query, cursor: filters.cursor }),
    (signal) => readPage<LogRow>("/v1/logs", { ...query, cursor: filters.cursor }, signal));
  const shown = useLast(log);
  const sheet = useAction(async () => {
    const whole = await download("/v1/logs", { ...query, limit: 1000 }, "requests.csv");
    notify(whole ? "requests.csv is saved" : "requests.csv is saved with the newest rows: there are too many for one file, so choose a shorter time");
  });

  // What is wrong with a filter stands beside it.
  const wrong: Record<string, string> = { ...log.error?.fields };
  if (log.error?.status === 404 && filters.get("keyId")) wrong.keyId = "There is no such key.";
  const beside = names.some((n) => wrong[n]);
  return (
    <Page title="Logs" lead="Each request of your keys, some minutes after it was made; kept for 30 days."
      actions={<>
        <Button busy={log.loading && !!shown} onClick={log.reload}>Refresh</Button>
        <Button icon="download" busy={sheet.busy} onClick={sheet.run}>Download CSV</Button>
      </>}>
      <FilterBar filters={filters} wrong={wrong} />
      {sheet.error && <Failure error={sheet.error} what="download the sheet" started onRetry={sheet.run} />}
      {log.error && !beside && <Failure error={log.error} what="load the requests" onRetry={log.reload} />}
      {shown && !beside ? (
        <section class="card" aria-label="Request log">
          {shown.rows.length > 0 ? <RequestTable rows={shown.rows} keys busy={log.loading} /> : <None more={!!shown.next} filtered={filters.any} later={!!filters.cursor} />}
          <Turner label="Pages of the log" text={shown.rows.length ? plural(shown.rows.length, "request") : ""} filters={filters} next={shown.next} />
        </section>
      ) : log.loading && <Loading what="requests" />}
    </Page>
  );
}

function None({ more, filtered, later }: { more: boolean; filtered: boolean; later: boolean }) {
  if (more) return <Empty title="Nothing found yet"><p>Few requests are like this, and the log is long. “Older” goes on looking.</p></Empty>;
  if (later) return <Empty title="No older requests" />;
  if (filtered) return <Empty title="No such requests"><p>No request in the log matches these filters.</p></Empty>;
  return <Empty title="No requests yet"><p>They appear here some minutes after they were made with one of your keys.</p></Empty>;
}

function FilterBar({ filters, wrong }: { filters: Filters; wrong: Record<string, string> }) {
  const routes = useRoutes();
  const paths = useMemo(() => {
    const list = new Set(routes.data?.filter((r) => !r.public).map((r) => r.path));
    if (filters.get("route")) list.add(filters.get("route"));
    return [...list].sort();
  }, [routes.data, filters.get("route")]);
  const status = filters.get("status");
  const select = (name: string, label: string, any: string, options: [string, string][]) => (
    <SelectField label={label} value={filters.get(name)} onValue={(v) => filters.set({ [name]: v })} options={[["", any], ...options]} error={wrong[name]} />
  );
  return (
    <form class="many filters" role="search" aria-label="Filter the requests" onSubmit={(e) => e.preventDefault()}>
      {select("environment", "Environment", "All", environments.map((e) => [e, environmentName[e] ?? e]))}
      {select("status", "Status", "All", status && !codes.some(([v]) => v === status) ? [...codes, [status, status]] : codes)}
      {select("method", "Method", "All", methods.map((m) => [m, m]))}
      {select("route", "Route", "All", paths.map((p) => [p, p]))}
      <KeyFilter filters={filters} error={wrong.keyId} />
      <MomentField label="From" name="from" filters={filters} error={wrong.from} />
      <MomentField label="To" name="to" filters={filters} error={wrong.to} />
      <CheckboxField label="Refused only" checked={filters.get("refused") === "true"} onValue={(v) => filters.set({ refused: v ? "true" : "" })} />
      {filters.any && <Button variant="quiet" onClick={filters.clear}>Clear filters</Button>}
    </form>
  );
}

// The field is in the viewer's zone, the address in UTC.
function MomentField({ label, name, filters, error }: { label: string; name: string; filters: Filters; error?: string }) {
  const at = new Date(filters.get(name)), minutes = at.getTime() / 60_000 - at.getTimezoneOffset();
  return (
    <TextField label={label} type="datetime-local" error={error} value={minutes ? new Date(minutes * 60_000).toISOString().slice(0, 16) : ""}
      onValue={(v) => {
        // A year that is being typed begins with zeros.
        if (!v || v >= "2000") filters.set({ [name]: v && new Date(v).toISOString() });
      }} />
  );
}
