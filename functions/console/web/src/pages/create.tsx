// Create API Key. The form keeps what was filled in through every error; the API judges, and
// what it finds wrong stands beside the field it is about.
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { ApiError, call } from "../api";
import { now } from "../clock";
import { CustomersField } from "../customers";
import { date, environmentName, exactTime, number, plural, utc } from "../format";
import { holds, PermissionPicker, resourceOf } from "../permissions";
import { useAction } from "../query";
import { go, href, useLeaveGuard } from "../router";
import { session } from "../session";
import { useAccount, useCatalogue, useRoutes, useSelf } from "../store";
import { type Account, type Environment, environments, type Instant, type IssuedKey, type Permission, type Self } from "../types";
import { Button, CheckboxField, Empty, ErrorSummary, Failure, LinkButton, Loading, Note, Page, SelectField, TextAreaField, TextField } from "../ui";
import { explain as withReasons } from "./key/change";
import { type Draft, type Faults, faultsOf, listed, type Patch } from "./key/draft";
import { SavedOnce } from "./secret";
import "./create.css";

/** The fields of a key that are edited later too, and those of a create alone; named as the API names them. */
interface Form extends Draft {
  environment: Environment;
  /** "": never. "date": at the end of expirationTs, which is a day here. */
  expirationDays: "" | "30" | "90" | "365" | "date";
  isPrimary: boolean;
  canary: boolean;
}

const empty = (): Form => ({
  name: "", environment: session()?.environment ?? "production", permissions: [], customers: [], plan: "", rateLimit: "", expirationDays: "365", expirationTs: "",
  owner: "", networks: "", hour: "", day: "", quota: "", refillDay: "1", notBefore: "", isPrimary: false, canary: false,
});

const expirations: [Form["expirationDays"], string][] = [["", "Never"], ["30", "30 days"], ["90", "90 days"], ["365", "365 days"], ["date", "On a date…"]];

const labels: Record<keyof Form, string> = {
  name: "Name", environment: "Environment", permissions: "Permissions", customers: "Customers", plan: "Plan", rateLimit: "Rate limit",
  expirationDays: "Expiration", expirationTs: "Expiration date", owner: "Owner", networks: "Networks", hour: "Hourly limit", day: "Daily limit",
  quota: "Monthly quota", refillDay: "Refill day", notBefore: "Works from", isPrimary: "The primary mark", canary: "The decoy",
};

const about: Record<Environment, string> = {
  production: "For real traffic. The key works on production alone.",
  staging: "To test integrations with realistic data. The key works on staging alone.",
  development: "To build and to try things out. The key works in development alone.",
};

const dayMs = 86_400_000;
const endOfDay = (day: string) => instantOf(day + "T23:59:59.999");

/** A time of the viewer's clock; undefined: there is no such time, in the year 20267 for one. */
function instantOf(local: string): Instant | undefined {
  const t = new Date(local);
  return Number.isNaN(t.getTime()) ? undefined : t.toISOString();
}

/** A day of the viewer's calendar, as a date field wants it. */
function dayFromNow(days: number): string {
  const t = new Date(now() + days * dayMs);
  return new Date(t.getTime() - t.getTimezoneOffset() * 60_000).toISOString().slice(0, 10);
}

/** What need not be asked of the API, by the form's fields. */
function check(f: Form): Faults {
  const bad: Faults = {};
  if (!f.name.trim()) bad.name = "is needed: say what the key is for";
  for (const field of f.canary ? [] : ["rateLimit", "hour", "day", "quota", "refillDay"] as const) {
    if (f[field].trim() && !/^[1-9]\d{0,14}$/.test(f[field].trim())) bad[field] = "must be a whole number of 1 or more, in digits";
  }
  if (f.expirationDays === "date" && !endOfDay(f.expirationTs)) bad.expirationTs = f.expirationTs ? "must be a day of the next 365" : "is needed";
  if (!f.canary && f.notBefore && !instantOf(f.notBefore)) bad.notBefore = "must be within the next 365 days";
  return bad;
}

/** The request for what was filled in; of a decoy, what it can have. */
function bodyOf(f: Form): Patch {
  const limits = (["hour", "day"] as const).filter((w) => f[w].trim()).map((window) => ({ window, requests: Number(f[window]) }));
  const networks = listed(f.networks);
  const both = {
    name: f.name.trim(),
    environment: f.environment,
    ...(f.owner.trim() && { owner: f.owner.trim() }),
    ...(f.expirationDays === "date" ? { expirationTs: endOfDay(f.expirationTs) } : f.expirationDays && { expirationDays: Number(f.expirationDays) }),
  };
  if (f.canary) return { ...both, ...{ canary: true } };
  return {
    ...both,
    permissions: f.permissions,
    ...(f.customers.length && { customers: f.customers }),
    ...(networks.length && { networks }),
    ...(f.plan && { plan: f.plan }),
    ...(f.rateLimit.trim() && { rateLimit: Number(f.rateLimit) }),
    ...(limits.length && { limits }),
    ...(f.quota.trim() && { quota: { requests: Number(f.quota), refillDay: Number(f.refillDay) || 1 } }),
    ...(f.notBefore && { notBefore: instantOf(f.notBefore) }),
    ...(f.isPrimary && f.environment === "production" && { isPrimary: true }),
  };
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
  const [faults, setFaults] = useState<Faults>({});
  const [issued, setIssued] = useState<IssuedKey>();
  const form = useRef<HTMLFormElement>(null);
  // The same request has the same key, and another request another: sent again after its
  // answer was lost, it gives what it gave.
  const attempt = useRef({ text: "", key: "" });

  const set = <K extends keyof Form>(field: K) => (value: Form[K]) => setForm((old) => ({ ...old, [field]: value }));
  const plans = account?.plans ?? [];
  const plan = plans.find((p) => p.name === (f.plan || account?.defaultPlan));

  const create = useAction(async () => {
    const bad = check(f);
    setFaults(bad);
    if (Object.keys(bad).length) throw new ApiError(400, "validation_failed", "");
    const body = bodyOf(f), text = JSON.stringify(body);
    if (attempt.current.text !== text) attempt.current = { text, key: crypto.randomUUID() };
    try {
      setIssued((await call<IssuedKey>("POST", "/v1/api-keys", { body, idempotencyKey: attempt.current.key })).data);
    } catch (e) {
      if (!(e instanceof ApiError)) throw e;
      if (e.code === "idempotency_unusable") attempt.current = { text: "", key: "" };
      const { "": other, ...bad } = faultsOf(withReasons(e), body, f);
      setFaults(bad);
      throw other ? new ApiError(e.status, e.code, other, e.requestId) : e;
    }
  });
  useLeaveGuard(!issued && JSON.stringify(f) !== JSON.stringify(initial) ? "Leave without creating the key? What you filled in is lost." : "");

  const { error } = create;
  const atFault = Object.keys(faults).length;
  // "must be 1 to 60" is the API's; what begins as a sentence does is one.
  const bad = (field: keyof Form) => {
    const fault = faults[field];
    return fault && (/^(must|is|can|go)/.test(fault) ? `${labels[field]} ${fault}.` : fault);
  };
  const bind = (field: Exclude<keyof Form, "permissions" | "customers" | "isPrimary" | "canary" | "environment" | "plan" | "expirationDays">) =>
    ({ label: labels[field], value: f[field], onValue: set(field), error: bad(field) });
  useEffect(() => {
    if (!error || !atFault) return;
    if (inMore.some((n) => faults[n])) showMore(true);
    // When what was folded away is there.
    requestAnimationFrame(() => form.current?.querySelector<HTMLElement>("[aria-invalid=true], fieldset.bad input:not(:disabled)")?.focus());
  }, [error]);

  const seen = account?.environments ?? environments;
  const managing = f.permissions.filter((p) => resourceOf(p) === "api_keys");
  const ends = endOfDay(f.expirationTs), starts = instantOf(f.notBefore);
  const rateOf = (p: Account["plans"][number]) => (f.environment === "development" ? p.developmentRateLimit : p.rateLimit);
  const last = plans[plans.length - 1];
  return (
    <>
      <form ref={form} class="card narrow create" noValidate onSubmit={(e) => {
        e.preventDefault();
        void create.run();
      }}>
        {error && (atFault
          ? <p class="note bad" role="alert">The key was not created: see the {atFault === 1 ? "field" : "fields"} marked below.</p>
          : <ErrorSummary text={explain(error, account)} />)}
        {account && account.keyCount >= account.keyLimit && !error && (
          <Note tone="warning">The account has {plural(account.keyCount, "key")}, which is all that its plan allows. Delete one first.</Note>
        )}
        <TextField {...bind("name")} hint="What uses the key, for example “Main website integration”." />
        <Environments value={f.environment} onValue={set("environment")} among={seen} error={bad("environment")} />
        {f.canary ? (
          <Note tone="warning"><strong>A decoy:</strong> this key never works. Leave it where only an intruder looks; whoever presents it raises the alert “Canary key was used”. That cannot be changed later.</Note>
        ) : <>
          <PermissionPicker catalogue={catalogue} value={f.permissions} onValue={set("permissions")} mine={self.permissions} error={bad("permissions")} />
          {f.permissions.length === 0 && <p class="hint after">Without a permission the key can do nothing but ask about itself.</p>}
          {managing.length > 0 && (
            <Note tone="warning">
              <strong>This key manages API keys.</strong>{" "}
              {holds(managing, "api_keys:write") ? "Whoever has it can create, change and revoke other keys, up to what it may do itself." : "Whoever has it can see the account’s other keys, though never their secrets."}
            </Note>
          )}
          <CustomersField value={f.customers} onValue={set("customers")} error={bad("customers")}
            hint={self.customers.length ? "Empty: the same customers as the key that you signed in with." : "Ids of the customers that the key is confined to. Empty: every customer."} />
          <div class="pair">
            {plans.length > 1 && plan && (
              <SelectField label="Plan" value={plan.name} onValue={set("plan")} error={bad("plan")} options={plans.map((p) => [p.name, `${p.name}: ${number(rateOf(p))} a minute`])} />
            )}
            <TextField {...bind("rateLimit")} optional inputMode="numeric" hint={rateHint(plan && rateOf(plan), last && rateOf(last))} />
          </div>
        </>}
        <div class="pair">
          <SelectField label="Expiration" value={f.expirationDays} onValue={set("expirationDays")} options={expirations} error={bad("expirationDays")}
            hint={!f.expirationDays ? "The key works until it is revoked or deleted." : f.expirationDays === "date" ? undefined : `Until ${date(new Date(now() + Number(f.expirationDays) * dayMs).toISOString())}.`} />
          {f.expirationDays === "date" && (
            <TextField {...bind("expirationTs")} type="date" min={dayFromNow(0)} max={dayFromNow(364)}
              hint={ends ? `The last moment is ${exactTime(ends)} (${utc(ends)}).` : "At most 365 days from now."} />
          )}
        </div>
        <details class="more" open={more} onToggle={(e) => showMore(e.currentTarget.open)}>
          <summary>More options</summary>
          <TextField {...bind("owner")} optional hint="Who is responsible for the key: a person or a team." />
          {!f.canary && <>
            <TextAreaField {...bind("networks")} optional
              hint={"Addresses or ranges that the key may be used from, such as 203.0.113.0/24, one a line. Empty: " + (self.networks.length ? "the same as the key that you signed in with." : "anywhere.")} />
            <div class="pair">
              <TextField {...bind("hour")} optional inputMode="numeric" hint="Requests in any 60 minutes." />
              <TextField {...bind("day")} optional inputMode="numeric" hint="Requests in any 24 hours." />
            </div>
            <div class="pair">
              <TextField {...bind("quota")} optional inputMode="numeric" hint="Requests in a calendar month." />
              {f.quota && <TextField {...bind("refillDay")} inputMode="numeric" hint="When the month begins: day 1 to 28, at 00:00 UTC." />}
            </div>
            <TextField {...bind("notBefore")} optional type="datetime-local"
              hint={starts ? `${exactTime(starts)} (${utc(starts)}).` : "When the key begins to work. Empty: at once."} />
            {f.environment === "production" && <CheckboxField label="Make it the primary key" checked={f.isPrimary} onValue={set("isPrimary")} hint="It takes the mark from the present primary key." />}
            {faults.isPrimary && <p class="error">{bad("isPrimary")}</p>}
          </>}
          <CheckboxField label="Make it a decoy (canary)" checked={f.canary} onValue={set("canary")} hint="It never works, and raises an alert when somebody tries it." />
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

const inMore: (keyof Form)[] = ["owner", "networks", "hour", "day", "quota", "refillDay", "notBefore", "isPrimary"];

function rateHint(limit: number | undefined, most: number | undefined): string {
  if (limit === undefined) return "Requests in any 60 seconds. Empty: what the plan allows.";
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
