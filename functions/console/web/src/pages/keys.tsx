// The API Keys list: found, filtered, ordered and paged by the API, since there may be
// thousands. What is chosen stands in the address, so that reload, back and a link keep it.
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { get } from "../api";
import { Sparkline } from "../charts";
import { now } from "../clock";
import { CustomerInput } from "../customers";
import { date, environmentName, number, plural, summary } from "../format";
import { LimitMeter, limitsOf, nearestLimit } from "../limits";
import { resourceOf } from "../permissions";
import { useQuery } from "../query";
import { go, href, usePlace } from "../router";
import { useAccount, useCatalogue } from "../store";
import { environments, statuses, type AccountUsage, type Instant, type Key, type ListMeta } from "../types";
import { Button, Empty, EnvironmentTag, Failure, Icon, LinkButton, Loading, Page, Pager, SelectField, StatusMark, Tag, Time } from "../ui";
import { statusWord } from "../ui/marks";
import { cursorsOf, remember } from "./trail";
import "./keys.css";

const pageSize = 50;
const typingMs = 250;

/** The parts of the address that choose keys, beside sort and cursor. */
const filterNames = ["search", "environment", "status", "permission", "customer"] as const;
type Filters = Record<(typeof filterNames)[number] | "sort", string>;

// The newest first: who comes from creating a key finds it.
const defaultSort = "-number";
const sorts: [string, string][] = [
  ["-number", "Newest first"], ["number", "Oldest first"], ["name", "Name, A to Z"], ["-name", "Name, Z to A"],
  ["-lastUsed", "Last used, newest first"], ["lastUsed", "Last used, oldest first"],
  ["expirationTs", "Expiry, soonest first"], ["-expirationTs", "Expiry, latest first"],
  ["environment", "Environment"], ["-environment", "Environment, reversed"], ["status", "Status"], ["-status", "Status, reversed"],
];

interface List { keys: Key[]; meta: ListMeta }

export function Keys() {
  const { query } = usePlace();
  const filters = Object.fromEntries([...filterNames, "sort"].map((n) => [n, query.get(n) ?? ""])) as Filters;
  const cursor = query.get("cursor") ?? "";
  const chosen = JSON.stringify(filters);
  const filtered = filterNames.some((n) => filters[n] !== "");
  const list = useQuery<List>("keys " + chosen + cursor, async (signal) => {
    const { data, meta } = await get<Key[], ListMeta>("/v1/api-keys", { ...filters, sort: filters.sort || defaultSort, limit: pageSize, cursor }, signal);
    return { keys: data, meta };
  });
  // A cursor of another account, or of before a change of the pepper: from the start, then.
  const lost = list.error?.code === "invalid_cursor";
  useEffect(() => {
    if (lost) go(href("keys", filters), "replace");
  }, [lost]);

  // What was seen last stays until the next is there, or is known not to come: nothing jumps.
  const seen = useRef<List>();
  if (list.data) seen.current = list.data;
  const page = list.data ?? (list.error && !list.error.passing ? undefined : seen.current);
  const busy = list.loading || page !== list.data;

  const choose = (change: Partial<Filters>, how?: "replace") => go(href("keys", { ...filters, ...change }), how);
  const [cleared, setCleared] = useState(0);
  const clear = (
    <Button icon="close" onClick={() => {
      choose(Object.fromEntries(filterNames.map((n) => [n, ""])));
      setCleared(cleared + 1); // what was typed and not taken goes too
      requestAnimationFrame(() => document.getElementById("search")?.focus());
    }}>Clear filters</Button>
  );
  return (
    <Page title="API Keys" lead="Credentials for your API: what each may do, how much of it, and whether it is in use."
      actions={<LinkButton href={href("keys/new")} variant="primary" icon="plus">Create API Key</LinkButton>}>
      <section class="card keys" aria-label="API keys">
        <FilterBar key={cleared} filters={filters} choose={choose} />
        {list.error && !lost && <Failure error={list.error} what="load the keys" onRetry={list.reload} />}
        {!page && list.error && !lost && filtered && <div>{clear}</div>}
        {!page && (list.loading || lost) && <Loading what="API keys" />}
        {page && (
          <div class="count">
            <span role="status">{busy ? "Loading…" : plural(page.meta.total, "key")}</span>
            {filtered && page.keys.length > 0 && clear}
            <Button variant="quiet" busy={list.loading} onClick={list.reload}>Refresh</Button>
          </div>
        )}
        {page && page.keys.length > 0 && <Table list={page} busy={busy} sort={filters.sort || defaultSort} choose={choose} />}
        {page && page.keys.length === 0 && (filtered ? (
          <Empty title="No API key matches">
            <p>None of the keys that you may see is like that.</p>
            {clear}
          </Empty>
        ) : cursor ? (
          <Empty title="No more API keys"><LinkButton href={href("keys", filters)}>First page</LinkButton></Empty>
        ) : (
          <Empty title="No API keys yet">
            <p>Create one for each application or integration, with no more than it needs.</p>
            <LinkButton href={href("keys/new")} variant="primary" icon="plus">Create your first key</LinkButton>
          </Empty>
        ))}
        {page && page.meta.total > pageSize && page.keys.length > 0 && <Pages list={page} filters={filters} chosen={chosen} cursor={cursor} />}
      </section>
    </Page>
  );
}

function FilterBar({ filters, choose }: { filters: Filters; choose: (change: Partial<Filters>, how?: "replace") => void }) {
  const catalogue = useCatalogue();
  const seen = useAccount().data?.environments ?? environments;
  const permissions = (catalogue.data ?? []).filter((p) => !p.wildcard);
  const id = useId();
  const search = useTyped(filters.search, (v) => choose({ search: v }, "replace"));
  const customer = useTyped(filters.customer, (v) => choose({ customer: v }, "replace"), isCustomer);
  const customerError = !isCustomer(customer.value.trim()) && "Letters, digits, _ and - only";
  const any = (text: string): [string, string] => ["", text];
  return (
    <form class="filters" role="search" aria-label="API keys" onSubmit={(e) => {
      e.preventDefault();
      search.settle();
      customer.settle();
    }}>
      <div class="field search">
        <label for="search">Search</label>
        <input id="search" type="search" placeholder="Name, owner or key" maxLength={200} spellcheck={false} autocomplete="off" value={search.value} onInput={(e) => search.type(e.currentTarget.value)} />
      </div>
      <SelectField label="Environment" value={filters.environment} onValue={(v) => choose({ environment: v })}
        options={[any("All"), ...seen.map((e): [string, string] => [e, environmentName[e] ?? e])]} />
      <SelectField label="Status" value={filters.status} onValue={(v) => choose({ status: v })}
        options={[any("Not revoked"), ...statuses.map((s): [string, string] => [s, statusWord(s)])]} />
      <SelectField label="Permission" value={filters.permission} onValue={(v) => choose({ permission: v })}
        options={[any("Any"), ...known(permissions.map((p): [string, string] => [p.name, p.label]), filters.permission)]} />
      <div class={customerError ? "field bad" : "field"}>
        <label for={id + "c"}>Customer</label>
        <CustomerInput id={id + "c"} value={customer.value} onValue={customer.type} onChosen={(v) => choose({ customer: v }, "replace")} placeholder="Any"
          ties={{ "aria-invalid": customerError ? true : undefined, "aria-describedby": customerError ? id + "e" : undefined }} />
        {customerError && <p class="error" id={id + "e"}>{customerError}</p>}
      </div>
      <SelectField label="Sort" value={filters.sort || defaultSort} onValue={(v) => choose({ sort: v === defaultSort ? "" : v })} options={sorts} />
    </form>
  );
}

/** The options, with what is chosen among them although the catalogue is not there yet. */
const known = (options: [string, string][], value: string) => (value && !options.some(([v]) => v === value) ? [...options, [value, value] as [string, string]] : options);

const isCustomer = (id: string) => /^[\w-]{0,64}$/.test(id);

/** A text that is typed, and taken when the typing pauses; and follows the address. */
function useTyped(value: string, take: (v: string) => void, valid: (v: string) => boolean = () => true) {
  const [text, set] = useState(value);
  const timer = useRef<ReturnType<typeof setTimeout>>();
  const latest = useRef(take);
  latest.current = take;
  const taken = useRef(value);
  if (taken.current !== value) { // the address was changed by something else
    taken.current = value;
    if (text.trim() !== value) set(value);
  }
  useEffect(() => () => clearTimeout(timer.current), []);
  const settle = (v = text) => {
    clearTimeout(timer.current);
    const trimmed = v.trim();
    if (trimmed === taken.current || !valid(trimmed)) return;
    taken.current = trimmed;
    latest.current(trimmed);
  };
  return {
    value: text,
    settle: () => settle(),
    type: (v: string) => {
      set(v);
      clearTimeout(timer.current);
      timer.current = setTimeout(() => settle(v), typingMs);
    },
  };
}

type Choose = (change: Partial<Filters>) => void;

function Table({ list, busy, sort, choose }: { list: List; busy: boolean; sort: string; choose: Choose }) {
  const ids = list.keys.map((k) => k.keyId).join(",");
  const usage = useQuery(ids, async (signal) => (await get<AccountUsage>("/v1/usage", { keyIds: ids }, signal)).data);
  const sorted = { sort, choose };
  return (
    <div class="table" tabIndex={0} role="region" aria-label="Table of API keys">
      <table class="cards" aria-busy={busy}>
        <caption class="hidden">API keys</caption>
        <thead>
          <tr>
            <Head name="name" {...sorted}>Name</Head>
            <Head name="environment" {...sorted}>Environment</Head>
            <Head name="status" {...sorted}>Status</Head>
            <th scope="col">Permissions</th>
            <th scope="col">Rate limit</th>
            <Head name="lastUsed" {...sorted}>Last used</Head>
            <Head name="expirationTs" {...sorted}>Expires</Head>
            <th scope="col">36 hours</th>
          </tr>
        </thead>
        <tbody>
          {list.keys.map((k) => (
            <Row key={k.keyId} k={k} starts={usage.data?.starts} failed={usage.error !== undefined}
              values={usage.data && (usage.data.keys?.find((u) => u.keyId === k.keyId)?.buckets ?? usage.data.starts.map(() => 0))} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Head({ name, sort, choose, children }: { name: string; sort: string; choose: Choose; children: string }) {
  const up = sort === name, down = sort === "-" + name;
  return (
    <th scope="col" aria-sort={up ? "ascending" : down ? "descending" : undefined}>
      <button type="button" class="sort" onClick={() => choose({ sort: up ? "-" + name : name })}>
        {children}
        {(up || down) && <span aria-hidden="true">{up ? "↑" : "↓"}</span>}
      </button>
    </th>
  );
}

function Row({ k, starts, values, failed }: { k: Key; starts: Instant[] | undefined; values: number[] | undefined; failed: boolean }) {
  const limits = limitsOf(k), limit = nearestLimit(limits);
  return (
    <tr>
      <th scope="row">
        <span class="name">
          <a dir="auto" title={k.name} href={href("keys/" + encodeURIComponent(k.keyId))}>{k.name}</a>
          {k.isPrimary && <Tag tone="accent"><Icon name="star" size={12} /> Primary</Tag>}
          {k.canary && <Tag tone="warning">Canary</Tag>}
        </span>
        <span class="second"><code class="nowrap">{k.keyPrefix}</code>{k.owner && <span class="owner" title={k.owner}>{k.owner}</span>}</span>
      </th>
      <td data-label="Environment"><EnvironmentTag environment={k.environment} /></td>
      <td data-label="Status">
        <span>
          <StatusMark status={k.status} />
          {k.status === "scheduled" && k.notBefore && <span class="second">from <span class="nowrap">{date(k.notBefore)}</span></span>}
        </span>
      </td>
      <td data-label="Permissions"><Permissions k={k} /></td>
      <td data-label="Rate limit">
        {k.canary ? <span class="muted">Never works</span> : (
          <span>
            <LimitMeter limit={limit} />
            {limit !== limits[0] && <span class="second">{number(k.rateLimit)} a minute</span>}
          </span>
        )}
      </td>
      <td data-label="Last used"><Time at={k.lastUsed} relative /></td>
      <td data-label="Expires"><Expiry at={k.expirationTs} /></td>
      <td data-label="Last 36 hours">
        {values && starts
          ? <Sparkline values={values} starts={starts} label={plural(values.reduce((a, b) => a + b, 0), "request") + " in 36 hours"} />
          : <span class="sparkline muted">{failed ? "Not known" : ""}</span>}
      </td>
    </tr>
  );
}

function Permissions({ k }: { k: Key }) {
  const all = k.permissionLabels.join(", ") || "None";
  return (
    <span>
      <span title={all} aria-hidden="true">{summary(k.permissionLabels)}</span>
      <span class="hidden">{all}</span>
      {k.permissions.some((p) => resourceOf(p) === "api_keys") && <span class="second">Manages API keys</span>}
      {k.customers.length > 0 && <span class="second wrap" title={k.customers.join(", ")}>Only {summary(k.customers, 1)}</span>}
    </span>
  );
}

const soonDays = 14;

function Expiry({ at }: { at: Instant | null }) {
  const left = at ? Date.parse(at) - now() : Infinity;
  if (!at || left > soonDays * 86_400_000) return at ? <time dateTime={at} title={at}>{date(at)}</time> : <span class="never">Never</span>;
  return (
    <span>
      <span class={left > 0 ? "soon" : "muted"}>{left > 0 && <Icon name="warning" size={14} />} <Time at={at} relative /></span>
      <span class="second">{date(at)}</span>
    </span>
  );
}

function Pages({ list, filters, chosen, cursor }: { list: List; filters: Filters; chosen: string; cursor: string }) {
  const walked = cursorsOf(chosen);
  const cursors = walked.includes(cursor) ? walked : [cursor]; // a link that somebody sent begins in the middle
  const at = cursors.indexOf(cursor), fromStart = cursors[0] === "";
  const { total, next } = list.meta;
  const to = (c = "") => {
    go(href("keys", { ...filters, cursor: c }));
    document.getElementById("main")?.scrollIntoView();
  };
  const first = at * pageSize + 1;
  return (
    <div class="pages">
      {!fromStart && <LinkButton href={href("keys", filters)}>First page</LinkButton>}
      <Pager label="Pages of API keys" text={fromStart ? `${number(first)}–${number(first + list.keys.length - 1)} of ${number(total)}` : undefined}
        onPrevious={at > 0 ? () => to(cursors[at - 1]) : undefined}
        onNext={next ? () => {
          remember(chosen, [...cursors.slice(0, at + 1), next]);
          to(next);
        } : undefined} />
    </div>
  );
}
