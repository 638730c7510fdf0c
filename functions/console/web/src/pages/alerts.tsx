// What needs somebody. An alert that was acknowledged keeps its place until the list is read
// again.
import { useEffect, useId, useRef } from "preact/hooks";
import { call } from "../api";
import { now } from "../clock";
import { environmentName, plural } from "../format";
import { oneLess } from "../openalerts";
import { useAction, useQuery } from "../query";
import { href, usePlace } from "../router";
import { useMayManage } from "../store";
import { environments, type Alert } from "../types";
import { announce, Button, Empty, EnvironmentTag, ErrorSummary, Failure, Loading, Page, SelectField, Time } from "../ui";
import { alertKinds, figureText, kindText } from "../words";
import "./alerts.css";
import { KeyFilter, readPage, Turner, useFilters, useLast, type Filters } from "./paged";

export function Alerts() {
  const filters = useFilters("alerts", usePlace().query);
  const { get } = filters;
  const status = get("status") || "open";
  const query = { status: status === "all" ? "" : status, kind: get("kind"), environment: get("environment"), keyId: get("keyId"), cursor: filters.cursor };
  const list = useQuery("alerts " + JSON.stringify(query), (signal) => readPage<Alert>("/v1/alerts", query, signal));
  const shown = useLast(list);
  const wrong = list.error?.fields ?? {};
  // Two may be acknowledged at once: the later answer finds the list as the earlier left it.
  const latest = useRef(list);
  latest.current = list;
  const replace = (a: Alert) => {
    const { data, set } = latest.current;
    if (data) set({ ...data, rows: data.rows.map((b) => (b.alertId === a.alertId ? a : b)) });
  };
  return (
    <Page title="Alerts" lead="What needs somebody: one alert for a cause, however often it happens. Kept for 90 days."
      actions={<Button busy={list.loading && !!shown} onClick={list.reload}>Refresh</Button>}>
      <form class="many filters" role="search" aria-label="Filter the alerts" onSubmit={(e) => e.preventDefault()}>
        <SelectField label="Status" value={status} onValue={(v) => filters.set({ status: v === "open" ? "" : v })} error={wrong.status}
          options={[["open", "Open"], ["acknowledged", "Acknowledged"], ["all", "All"]]} />
        <SelectField label="Kind" value={get("kind")} onValue={(kind) => filters.set({ kind })} error={wrong.kind}
          options={[["", "All"], ...alertKinds.map((k): [string, string] => [k, kindText(k)])]} />
        <SelectField label="Environment" value={get("environment")} onValue={(environment) => filters.set({ environment })} error={wrong.environment}
          options={[["", "All"], ...environments.map((e): [string, string] => [e, environmentName[e] ?? e])]} />
        <KeyFilter filters={filters} error={wrong.keyId} />
        {filters.any && <Button variant="quiet" onClick={filters.clear}>Clear filters</Button>}
      </form>
      {list.error && <Failure error={list.error} what="load the alerts" onRetry={list.reload} />}
      {shown ? (
        <>
          {shown.rows.length > 0 ? (
            <ul class="alerts" aria-label="Alerts" aria-busy={list.loading || undefined}>
              {shown.rows.map((a) => <Item key={a.alertId} alert={a} onChange={replace} />)}
            </ul>
          ) : <section class="card"><None more={!!shown.next} filters={filters} /></section>}
          <Turner label="Pages of the alerts" text={shown.rows.length ? plural(shown.rows.length, "alert") : ""} filters={filters} next={shown.next} />
        </>
      ) : list.loading && <Loading what="alerts" />}
    </Page>
  );
}

function None({ more, filters }: { more: boolean; filters: Filters }) {
  if (more) return <Empty title="Nothing found yet"><p>Few alerts are like this. “Older” goes on looking.</p></Empty>;
  if (filters.cursor) return <Empty title="No older alerts" />;
  if (filters.any) return <Empty title="No such alerts"><p>No alert matches these filters.</p></Empty>;
  return <Empty title="All is well"><p>There is no open alert: nobody needs to do anything.</p></Empty>;
}

const instants = /(\d{4}-\d\d-\d\dT[\d:.]+Z)/;

function Item({ alert, onChange }: { alert: Alert; onChange: (a: Alert) => void }) {
  const id = useId(), may = useMayManage();
  const done = useRef<HTMLParagraphElement>(null);
  const pressed = useRef(false);
  const acknowledge = useAction(async () => {
    const { data } = await call<Alert>("POST", `/v1/alerts/${encodeURIComponent(alert.alertId)}/acknowledge`, { body: {} });
    pressed.current = true;
    oneLess();
    onChange(data);
    announce(`Acknowledged: ${kindText(alert.kind)}`);
  });
  // The button is gone: the focus stays where it was.
  useEffect(() => {
    if (alert.acknowledgedAt && pressed.current) done.current?.focus();
  }, [alert.acknowledgedAt]);
  const logs = logsOf(alert);
  return (
    <li class={`card alert ${alert.severity}`}>
      <div class="head">
        <h2 id={id}>{kindText(alert.kind)}</h2>
        <Severity severity={alert.severity} />
      </div>
      <p class="wrap">{alert.text.split(instants).map((part, i) => (i % 2 ? <Time key={i} at={part} /> : part))}</p>
      <p class="about">
        {alert.keyId && <a class="wrap" href={href("keys/" + alert.keyId)} title={alert.keyId}>{alert.keyName ?? alert.keyId}</a>}
        {alert.environment && <EnvironmentTag environment={alert.environment} />}
        <span class="muted">Raised <Time at={alert.raisedAt} relative /></span>
        {logs && <a href={logs}>Show the requests</a>}
      </p>
      <details>
        <summary>Details</summary>
        <dl class="facts">
          {Object.entries(alert.data).sort(([a], [b]) => a.localeCompare(b)).map(([name, value]) => (
            <div key={name}>
              <dt>{figureText(name)}</dt>
              <dd>{value.replace(instants, "") ? value : <Time at={value} />}</dd>
            </div>
          ))}
          <div><dt>About</dt><dd>{alert.subject}</dd></div>
          <div><dt>Alert ID</dt><dd><code>{alert.alertId}</code></dd></div>
        </dl>
      </details>
      {acknowledge.error && <ErrorSummary text={`Could not acknowledge it: ${acknowledge.error.message}`} />}
      {alert.acknowledgedAt ? (
        <p class="done" ref={done} tabIndex={-1}>
          Acknowledged <Time at={alert.acknowledgedAt} relative /> by {alert.acknowledgedByName ?? alert.acknowledgedBy ?? "somebody"}
        </p>
      ) : may && <Button icon="check" busy={acknowledge.busy} aria-describedby={id} onClick={acknowledge.run}>Acknowledge</Button>}
    </li>
  );
}

// How soon somebody should look: a word and a shape; the colour only helps.
const severities = {
  info: { word: "For planning", shape: <><circle cx="8" cy="8" r="6.5" /><path d="M8 7.5V11M8 5h.01" /></> },
  warning: { word: "Look today", shape: <path d="M8 2 1.5 13.5h13L8 2ZM8 6.5v3.5M8 12h.01" /> },
  critical: { word: "Look now", shape: <path d="M5.2 1.5h5.6l3.7 3.7v5.6l-3.7 3.7H5.2l-3.7-3.7V5.2l3.7-3.7ZM8 4.5v4M8 11h.01" stroke-width="2" /> },
};

function Severity({ severity }: { severity: Alert["severity"] }) {
  const { word, shape } = severities[severity];
  return (
    <span class="severity">
      <svg class="icon" width="1rem" height="1rem" viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">{shape}</svg>
      {severity[0]?.toUpperCase() + severity.slice(1)}<span class="muted">{word}</span>
    </span>
  );
}

const hour = 3_600_000;

/** The link to the requests that an alert is about, while they are kept. */
function logsOf(a: Alert): string | undefined {
  const only: Record<string, Record<string, string>> = {
    near_limit: {}, over_limit: { status: "429" }, key_failures: { status: "4xx" }, source_failures: { status: "4xx" },
    new_network: {}, unusual_volume: {}, canary_used: { refused: "true" }, late_accept: {},
  };
  const filters = only[a.kind];
  const at = Date.parse(a.data.hour ?? a.data.at ?? a.window);
  const from = Math.floor(at / hour) * hour;
  if (!filters || !from || now() - from > 30 * 24 * hour) return undefined;
  // What a spate of refusals began with may be of the hour before.
  const early = a.kind.endsWith("_failures") ? hour / 12 : 0;
  return href("logs", { keyId: a.keyId ?? "", ...filters, from: new Date(from - early).toISOString(), to: new Date(from + hour).toISOString() });
}
