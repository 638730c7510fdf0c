// Create API Key. The form keeps what was filled in through every error; the API judges, and
// what it finds wrong stands beside the field it is about.
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { ApiError, call } from "../api";
import { CustomersField } from "../customers";
import { date, environmentName, exactTime, number, plural, utc } from "../format";
import { holds, permissionLabel, PermissionPicker, resourceOf } from "../permissions";
import { useAction } from "../query";
import { go, href, useLeaveGuard } from "../router";
import { session } from "../session";
import { useAccount, useCatalogue, useRoutes, useSelf } from "../store";
import type { Account, Environment, Instant, IssuedKey, Permission, Self } from "../types";
import { Button, CheckboxField, Empty, ErrorSummary, Failure, LinkButton, Loading, Note, Page, SelectField, TextAreaField, TextField } from "../ui";
import { SavedOnce } from "./secret";
import "./create.css";

interface Form {
  name: string;
  environment: Environment;
  permissions: string[];
  customers: string[];
  plan: string;
  rateLimit: string;
  expires: "never" | "30" | "90" | "365" | "date";
  expiryDate: string;
  owner: string;
  networks: string;
  hour: string;
  day: string;
  month: string;
  refillDay: string;
  start: string;
  primary: boolean;
}

const empty = (): Form => ({
  name: "", environment: session()?.environment ?? "production", permissions: [], customers: [], plan: "", rateLimit: "", expires: "365", expiryDate: "",
  owner: "", networks: "", hour: "", day: "", month: "", refillDay: "1", start: "", primary: false,
});

const expirations: [Form["expires"], string][] = [["never", "Never"], ["30", "30 days"], ["90", "90 days"], ["365", "365 days"], ["date", "On a date…"]];

const about: Record<Environment, string> = {
  production: "For real traffic. The key works on production alone.",
  staging: "To test integrations with realistic data. The key works on staging alone.",
  development: "To build and to try things out. The key works in development alone.",
};

const dayMs = 86_400_000;
const networksOf = (f: Form) => f.networks.split(/[\s,;]+/).filter(Boolean);
const endOfDay = (day: string) => instantOf(day + "T23:59:59.999");

/** A time of the viewer's clock; undefined: there is no such time, in the year 20267 for one. */
function instantOf(local: string): Instant | undefined {
  const t = new Date(local);
  return Number.isNaN(t.getTime()) ? undefined : t.toISOString();
}

/** A day of the viewer's calendar, as a date field wants it. */
function dayFromNow(days: number): string {
  const t = new Date(Date.now() + days * dayMs);
  return `${t.getFullYear()}-${String(t.getMonth() + 1).padStart(2, "0")}-${String(t.getDate()).padStart(2, "0")}`;
}

const numbers = { rateLimit: "Rate limit", hour: "Requests in an hour", day: "Requests in a day", month: "Requests in a month", refillDay: "The day" } as const;

/** What need not be asked of the API, by the form's fields. */
function check(f: Form): Record<string, string> {
  const bad: Record<string, string> = {};
  if (!f.name.trim()) bad.name = "Name is needed: say what the key is for.";
  for (const [field, label] of Object.entries(numbers) as [keyof typeof numbers, string][]) {
    if (f[field] && !/^[1-9]\d{0,9}$/.test(f[field].trim())) bad[field] = label + " must be a whole number of 1 or more, in digits.";
  }
  if (f.expires === "date" && !endOfDay(f.expiryDate)) bad.expiryDate = f.expiryDate ? "Expiration date must be a day of the next 365." : "Expiration date is needed.";
  if (f.start && !instantOf(f.start)) bad.start = "Start must be within the next 365 days.";
  return bad;
}

/** The request for what was filled in. */
function bodyOf(f: Form, plan: string | undefined): object {
  const limits = [];
  if (f.hour) limits.push({ window: "hour", requests: Number(f.hour) });
  if (f.day) limits.push({ window: "day", requests: Number(f.day) });
  const networks = networksOf(f);
  return {
    name: f.name.trim(),
    environment: f.environment,
    permissions: f.permissions,
    ...(f.customers.length && { customers: f.customers }),
    ...(networks.length && { networks }),
    ...(f.owner.trim() && { owner: f.owner.trim() }),
    ...(plan && { plan }),
    ...(f.rateLimit && { rateLimit: Number(f.rateLimit) }),
    ...(limits.length && { limits }),
    ...(f.month && { quota: { requests: Number(f.month), refillDay: Number(f.refillDay) || 1 } }),
    ...(f.start && { notBefore: instantOf(f.start) }),
    ...(f.expires === "date" ? { expirationTs: endOfDay(f.expiryDate) } : f.expires !== "never" && { expirationDays: Number(f.expires) }),
    ...(f.primary && f.environment === "production" && { isPrimary: true }),
  };
}

/** Why the caller's own key cannot grant that, by the API's name of the field. */
const beyond: Record<string, string> = {
  environment: "The key that you signed in with does not manage keys of this environment.",
  permissions: "The key that you signed in with does not hold all of these, and no key can grant more than it holds itself.",
  customers: "The key that you signed in with is confined to other customers, and no key can grant more than it holds itself.",
  networks: "The key that you signed in with is confined to other networks, and no key can grant more than it holds itself.",
  rateLimit: "The account’s plan does not allow that many requests.",
  plan: "The account’s own plan is lower.",
};

/** The API's fields at fault by the form's, and what is about none of these. */
function place(e: ApiError, f: Form, catalogue: Permission[]): { fields: Record<string, string>; rest: string[] } {
  const fields: Record<string, string> = {}, rest: string[] = [];
  for (const [name, message] of Object.entries(e.fields)) {
    if (name in f && /^\p{Lu}/u.test(message)) { // found here
      fields[name] = message;
      continue;
    }
    const base = name.replace(/[.[].*/, ""), i = Number(/\[(\d+)\]/.exec(name)?.[1] ?? -1);
    let field = base, what = "";
    switch (base) {
      case "name": what = "Name"; break;
      case "environment": what = "Environment"; break;
      case "permissions": what = f.permissions[i] ? permissionLabel(catalogue, f.permissions[i]) : "Permissions"; break;
      case "customers": what = f.customers[i] ?? "Customers"; break;
      case "networks": what = networksOf(f)[i] ?? "Networks"; break;
      case "owner": what = "Owner"; break;
      case "plan": what = "Plan"; break;
      case "rateLimit": what = "Rate limit"; break;
      case "limits": field = i === 0 && f.hour ? "hour" : "day"; what = numbers[field as "hour" | "day"]; break;
      case "quota": field = name.endsWith("refillDay") ? "refillDay" : "month"; what = numbers[field as "month" | "refillDay"]; break;
      case "notBefore": field = "start"; what = "Start"; break;
      case "expirationDays": field = "expires"; what = "Expiration"; break;
      case "expirationTs": field = "expiryDate"; what = "Expiration date"; break;
      case "isPrimary": field = "primary"; what = "Primary key"; break;
      default: rest.push(`${name} ${message}.`); continue;
    }
    fields[field] ??= (e.code === "permission_escalation" && beyond[base]) || `${what} ${message}.`;
  }
  return { fields, rest };
}

/** What went wrong, where it is about no field. */
function explain(e: ApiError, account: Account | undefined): string {
  switch (e.code) {
    case "key_limit":
      return `The account’s plan allows ${account ? plural(account.keyLimit, "key") : "no more keys"}, and there are as many. Delete one that nobody uses, then try again: what you filled in stays here.`;
    case "insufficient_scope":
      return "The key that you signed in with may not create API keys. Sign in with one that holds API Key Management.";
    case "idempotency_unusable":
      return "A key was created, but it cannot be shown any more. You find it in the list of API keys: regenerate it there, or delete it.";
  }
  const text = e.message + (e.requestId && e.status >= 500 ? ` Request ${e.requestId}.` : "");
  return e.passing || e.status === 409 ? text + " What you filled in is still here. Try again: unless you change it, no second key comes of that." : text;
}

export function Create() {
  const account = useAccount(), catalogue = useCatalogue(), self = useSelf();
  const failed = catalogue.error ?? self.error;
  useRoutes(); // the dialog afterwards needs them, and should have them at once
  return (
    <Page title="Create API Key" lead="A key for one application or integration, with no more than it needs.">
      {self.data && !holds(self.data.permissions, "api_keys:write") ? (
        <Empty title="You may not create API keys">
          <p>The key that you signed in with may see API keys and not manage them.</p>
          <LinkButton href={href("keys")}>API Keys</LinkButton>
        </Empty>
      ) : catalogue.data && self.data ? (
        <CreateForm catalogue={catalogue.data} self={self.data} account={account.data} />
      ) : failed ? (
        <Failure error={failed} what="load the permissions" onRetry={() => {
          catalogue.reload();
          self.reload();
        }} />
      ) : (
        <Loading what="permissions" />
      )}
    </Page>
  );
}

function CreateForm({ catalogue, self, account }: { catalogue: Permission[]; self: Self; account: Account | undefined }) {
  const [initial] = useState(empty);
  const [f, setForm] = useState(initial);
  const [more, showMore] = useState(false);
  const [issued, setIssued] = useState<IssuedKey>();
  const form = useRef<HTMLFormElement>(null);
  // The same request has the same key, and another request another: sent again after its
  // answer was lost, it gives what it gave.
  const attempt = useRef({ text: "", key: "" });

  const set = <K extends keyof Form>(field: K) => (value: Form[K]) => setForm((old) => ({ ...old, [field]: value }));
  const plans = account?.plans ?? [];
  const plan = plans.find((p) => p.name === f.plan) ?? plans[0];

  const create = useAction(async () => {
    const bad = check(f);
    if (Object.keys(bad).length) throw new ApiError(400, "validation_failed", "", "", bad);
    const body = bodyOf(f, plan?.name), text = JSON.stringify(body);
    if (attempt.current.text !== text) attempt.current = { text, key: crypto.randomUUID() };
    try {
      setIssued((await call<IssuedKey>("POST", "/v1/api-keys", { body, idempotencyKey: attempt.current.key })).data);
    } catch (e) {
      if (e instanceof ApiError && e.code === "idempotency_unusable") attempt.current = { text: "", key: "" };
      throw e;
    }
  });
  useLeaveGuard(!issued && JSON.stringify(f) !== JSON.stringify(initial) ? "Leave without creating the key? What you filled in is lost." : "");

  const { error } = create;
  const { fields, rest } = error ? place(error, f, catalogue) : { fields: {} as Record<string, string>, rest: [] };
  const atFault = Object.keys(fields).length > 0;
  useEffect(() => {
    if (!error || !atFault) return;
    if (inMore.some((n) => fields[n])) showMore(true);
    // When what was folded away is there.
    requestAnimationFrame(() => form.current?.querySelector<HTMLElement>("[aria-invalid=true], fieldset.bad input:not(:disabled)")?.focus());
  }, [error]);

  const seen = account?.environments ?? [f.environment];
  const managing = f.permissions.filter((p) => resourceOf(p) === "api_keys");
  const ends = endOfDay(f.expiryDate), starts = instantOf(f.start);
  const most = plans[plans.length - 1]?.rateLimit;
  return (
    <>
      <form ref={form} class="card narrow create" noValidate onSubmit={(e) => {
        e.preventDefault();
        void create.run();
      }}>
        {error && (atFault
          ? <p class="note bad" role="alert">The key was not created: see {Object.keys(fields).length === 1 ? "the field" : "the fields"} marked below. {rest.join(" ")}</p>
          : <ErrorSummary text={[explain(error, account), ...rest].join(" ")} />)}
        {account && account.keyCount >= account.keyLimit && !error && (
          <Note tone="warning">The account has {plural(account.keyCount, "key")}, which is all that its plan allows. Delete one first.</Note>
        )}
        <TextField label="Name" value={f.name} onValue={set("name")} error={fields.name} maxLength={100} hint="What uses the key, for example “Main website integration”." />
        <Environments value={f.environment} onValue={set("environment")} among={seen} error={fields.environment} />
        <PermissionPicker catalogue={catalogue} value={f.permissions} onValue={set("permissions")} mine={self.permissions} error={fields.permissions} />
        {f.permissions.length === 0 && <p class="hint after">Without a permission the key can do nothing but ask about itself.</p>}
        {managing.length > 0 && (
          <Note tone="warning">
            <strong>This key manages API keys.</strong>{" "}
            {holds(managing, "api_keys:write") ? "Whoever has it can create, change and revoke other keys, up to what it may do itself." : "Whoever has it can see the account’s other keys, though never their secrets."}
          </Note>
        )}
        <CustomersField value={f.customers} onValue={set("customers")} error={fields.customers}
          hint={self.customers.length ? "Empty: the same customers as the key that you signed in with." : "Ids of the customers that the key is confined to. Empty: every customer."} />
        <div class="pair">
          {plans.length > 1 && plan && (
            <SelectField label="Plan" value={plan.name} onValue={set("plan")} error={fields.plan} options={plans.map((p) => [p.name, `${p.name}: ${number(p.rateLimit)} a minute`])} />
          )}
          <TextField label="Rate limit" optional inputMode="numeric" value={f.rateLimit} onValue={set("rateLimit")} error={fields.rateLimit}
            hint={rateHint(f.environment, plan?.rateLimit, most)} />
        </div>
        <div class="pair">
          <SelectField label="Expiration" value={f.expires} onValue={set("expires")} options={expirations} error={fields.expires}
            hint={f.expires === "never" ? "The key works until it is revoked or deleted." : f.expires === "date" ? undefined : `Until ${date(new Date(Date.now() + Number(f.expires) * dayMs).toISOString())}.`} />
          {f.expires === "date" && (
            <TextField label="Expiration date" type="date" min={dayFromNow(0)} max={dayFromNow(364)} value={f.expiryDate} onValue={set("expiryDate")} error={fields.expiryDate}
              hint={ends ? `The last moment is ${exactTime(ends)} (${utc(ends)}).` : "At most 365 days from now."} />
          )}
        </div>
        <details class="more" open={more} onToggle={(e) => showMore(e.currentTarget.open)}>
          <summary>More options</summary>
          <TextField label="Owner" optional value={f.owner} onValue={set("owner")} error={fields.owner} maxLength={100} hint="Who is responsible for the key: a person or a team." />
          <TextAreaField label="Networks" optional value={f.networks} onValue={set("networks")} error={fields.networks}
            hint={self.networks.length ? "Addresses or ranges that the key may be used from, one a line. Empty: the same as the key that you signed in with." : "Addresses or ranges that the key may be used from, such as 203.0.113.0/24, one a line. Empty: anywhere."} />
          <div class="pair">
            <TextField label="Requests in an hour" optional inputMode="numeric" value={f.hour} onValue={set("hour")} error={fields.hour} />
            <TextField label="Requests in a day" optional inputMode="numeric" value={f.day} onValue={set("day")} error={fields.day} />
          </div>
          <div class="pair">
            <TextField label="Requests in a month" optional inputMode="numeric" value={f.month} onValue={set("month")} error={fields.month} />
            {f.month && <TextField label="The month begins on day" inputMode="numeric" value={f.refillDay} onValue={set("refillDay")} error={fields.refillDay} hint="1 to 28, at 00:00 UTC." />}
          </div>
          <TextField label="Start" optional type="datetime-local" value={f.start} onValue={set("start")} error={fields.start}
            hint={starts ? `Works from ${exactTime(starts)} (${utc(starts)}).` : "When the key begins to work. Empty: at once."} />
          {f.environment === "production" && <CheckboxField label="Make it the primary key" checked={f.primary} onValue={set("primary")} hint="It takes the mark from the present primary key." />}
          {fields.primary && <p class="error">{fields.primary}</p>}
        </details>
        <div class="actions">
          <LinkButton href={href("keys")}>Cancel</LinkButton>
          <Button type="submit" variant="primary" busy={create.busy}>Create API Key</Button>
        </div>
      </form>
      {issued && <SavedOnce issued={issued} onDone={() => {
        setIssued(undefined);
        go(href("keys/" + issued.keyId), "anyway");
      }} />}
    </>
  );
}

const inMore = ["owner", "networks", "hour", "day", "month", "refillDay", "start", "primary"];

function rateHint(environment: Environment, limit: number | undefined, most: number | undefined): string {
  if (limit === undefined) return "Requests in any 60 seconds. Empty: what the plan allows.";
  if (environment === "development") return `Requests in any 60 seconds. Empty: what the plan allows in development, ${number(limit)} or more.`;
  return `Requests in any 60 seconds. Empty: the plan’s ${number(limit)}.` + (most ? ` At most ${number(most)}.` : "");
}

function Environments({ value, onValue, among, error }: { value: Environment; onValue: (e: Environment) => void; among: Environment[]; error: string | undefined }) {
  const id = useId();
  return (
    <fieldset class={error ? "field bad" : "field"} role="radiogroup" aria-describedby={error && id}>
      <legend>Environment</legend>
      {error && <p class="error" id={id}>{error}</p>}
      <div class="choices">
        {among.map((e) => (
          <div class="check" key={e}>
            <input type="radio" name={id} id={id + e} checked={value === e} aria-describedby={id + e + "-hint"} onChange={() => onValue(e)} />
            <label for={id + e}>{environmentName[e]}</label>
            <p class="hint" id={id + e + "-hint"}>{about[e]}</p>
          </div>
        ))}
      </div>
    </fieldset>
  );
}
