// What all keys did, and which of them did most of it.
import { useEffect, useState } from "preact/hooks";
import { download, get } from "../api";
import { Bars, Sparkline } from "../charts";
import { now } from "../clock";
import { plural, number } from "../format";
import { useAction, useQuery } from "../query";
import { go, href, usePlace } from "../router";
import type { AccountUsage, RangeMeta } from "../types";
import { Button, Empty, Failure, Loading, Page, Section, SelectField } from "../ui";
import "./usage.css";
import { useLast } from "./paged";

type Span = "36h" | "48h" | "30d";

const spans: Record<Span, { text: string; query: () => Record<string, string> }> = {
  "36h": { text: "36 hours", query: () => ({}) },
  // The present hour is the last of them.
  "48h": { text: "48 hours", query: () => ({ from: new Date(now() - 47 * 3_600_000).toISOString() }) },
  "30d": { text: "30 days", query: () => ({ granularity: "day" }) },
};

const percent = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 1 });
const share = (part: number, of: number) => (part / of < 0.001 ? "under " + percent.format(0.001) : percent.format(part / of));

const step = 50;

export function Usage() {
  const chosen = usePlace().query.get("span") as Span;
  const span = spans[chosen] ? chosen : "36h", { text, query } = spans[span];
  const usage = useQuery("usage " + span, (signal) => get<AccountUsage, RangeMeta>("/v1/usage", query(), signal));
  const shown = useLast(usage);
  const sheet = useAction(async () => void (await download("/v1/usage", query(), "usage.csv")));
  return (
    <Page title="Usage" lead="Requests made with your keys, refused ones too, counted some minutes later."
      actions={<>
        <Button busy={usage.loading && !!shown} onClick={usage.reload}>Refresh</Button>
        <Button icon="download" busy={sheet.busy} onClick={sheet.run}>Download CSV</Button>
      </>}>
      <div class="filters">
        <SelectField<Span> label="Time" value={span} onValue={(v) => go(href("usage", { span: v === "36h" ? "" : v }), "replace")}
          options={(Object.keys(spans) as Span[]).map((s) => [s, "Last " + spans[s].text])} />
      </div>
      {sheet.error && <Failure error={sheet.error} what="download the sheet" started onRetry={sheet.run} />}
      {usage.error && <Failure error={usage.error} what="load the usage" onRetry={usage.reload} />}
      {shown ? <Figures key={span} usage={shown.data} granularity={shown.meta.granularity} text={text} busy={usage.loading} /> : usage.loading && <Loading what="usage" />}
    </Page>
  );
}

function Figures({ usage, granularity, text, busy }: { usage: AccountUsage; granularity: "hour" | "day"; text: string; busy: boolean }) {
  const keys = (usage.keys ?? []).filter((k) => k.requests > 0).sort((a, b) => b.requests - a.requests);
  const idle = (usage.keys?.length ?? 0) - keys.length;
  const [most, setMost] = useState(step);
  useEffect(() => setMost(step), [text]);
  if (usage.requests === 0) {
    return (
      <section class="card" aria-label="Requests" aria-busy={busy || undefined}>
        <Empty title={`No requests in the last ${text}`}><p>They are counted some minutes after they were made.</p></Empty>
      </section>
    );
  }
  return (
    <>
      <section class="card" aria-label="Requests" aria-busy={busy || undefined}>
        <Bars buckets={usage.starts.map((start, i) => ({ start, parts: [usage.buckets[i] ?? 0] }))} names={["Requests"]} label={`Requests of all keys in the last ${text}`} granularity={granularity} />
      </section>
      <Section title="Busiest keys">
        <div class="table" tabIndex={0} role="region" aria-label="Table of the busiest keys" aria-busy={busy || undefined}>
          <table class="cards busiest">
            <caption class="hidden">Busiest keys</caption>
            <thead>
              <tr>
                <th scope="col">Key</th>
                <th scope="col" class="number">Requests</th>
                <th scope="col" class="number">Share</th>
                <th scope="col">Last {text}</th>
              </tr>
            </thead>
            <tbody>
              {keys.slice(0, most).map((k) => (
                <tr key={k.keyId}>
                  <td data-label="Key"><a class="name" href={href("keys/" + k.keyId)} title={k.keyId}>{k.keyName ?? k.keyId}</a></td>
                  <td data-label="Requests" class="number">{number(k.requests)}</td>
                  <td data-label="Share" class="number">{share(k.requests, usage.requests)}</td>
                  <td data-label={`Last ${text}`}><Sparkline values={k.buckets} starts={usage.starts} label={`${plural(k.requests, "request")} in ${text}`} /></td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
        <div class="pager">
          <span role="status">
            {keys.length > most ? `The ${number(most)} busiest of ${plural(keys.length, "key")} with requests` : plural(keys.length, "key") + " with requests"}
            {idle > 0 && `; ${plural(idle, "key")} without any`}
          </span>
          {keys.length > most && <Button onClick={() => setMost(most + step)}>Show more</Button>}
        </div>
      </Section>
    </>
  );
}
