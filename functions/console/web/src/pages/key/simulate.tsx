// What would become of a request with this key, asked of the code that decides about real
// ones. Nothing is sent and nothing is counted.
import { useId, useState } from "preact/hooks";
import { call } from "../../api";
import { environmentName, number, plural } from "../../format";
import { permissionLabel } from "../../permissions";
import { useAction, useQuery } from "../../query";
import { routes as allRoutes, useCatalogue } from "../../store";
import { type Environment, type Key, type Simulation, environments } from "../../types";
import { Button, ErrorSummary, Note, Section, SelectField, TextField, Time } from "../../ui";
import { refusedText } from "../../words";
import { keyPath } from "./change";

const methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

export function SimulateSection({ k }: { k: Key }) {
  const [asked, askFor] = useState(false);
  const routes = (useQuery(asked ? "routes" : null, allRoutes).data ?? []).filter((r) => !r.public);
  const list = useId();
  const [method, setMethod] = useState("GET");
  const [path, setPath] = useState("");
  const [sourceIp, setSourceIp] = useState("");
  const [environment, setEnvironment] = useState<Environment>(k.environment);
  const [at, setAt] = useState("");
  const [verdict, set] = useState<Simulation>();
  const ask = useAction(async () => {
    const body = { method, path: path.trim(), environment, sourceIp: sourceIp.trim() || undefined, at: at ? new Date(at).toISOString() : undefined };
    set((await call<Simulation>("POST", keyPath(k, "/simulate"), { body })).data);
  });
  const faults = ask.error?.fields ?? {};
  return (
    <Section title="Simulate">
      <p class="muted">Would a request with this key be let through? Nothing is sent and nothing is counted.</p>
      <form class="simulate" onFocusCapture={() => askFor(true)} onSubmit={(e) => {
        e.preventDefault();
        void ask.run();
      }}>
        {ask.error && <ErrorSummary text={ask.error.message} />}
        <div class="filters">
          <SelectField label="Method" value={method} onValue={setMethod} options={methods.map((m) => [m, m])} error={faults["method"]} />
          <TextField label="Path" value={path} onValue={setPath} list={list} required placeholder="/v1/…" spellcheck={false} error={faults["path"]} />
          <TextField label="Source address" value={sourceIp} onValue={setSourceIp} placeholder="Your own" spellcheck={false} error={faults["sourceIp"]} />
          <SelectField label="Sent to" value={environment} onValue={setEnvironment} options={environments.map((e) => [e, environmentName[e] ?? e])} error={faults["environment"]} />
          <TextField label="Time" type="datetime-local" value={at} onValue={setAt} error={faults["at"]} />
          <Button type="submit" busy={ask.busy}>Simulate request</Button>
        </div>
        <datalist id={list}>{[...new Set(routes.filter((r) => r.method === method || r.method === "ANY").map((r) => r.path))].map((p) => <option key={p} value={p} />)}</datalist>
      </form>
      <div role="status">{verdict && !ask.busy && !ask.error && <Verdict k={k} v={verdict} />}</div>
    </Section>
  );
}

// Of a simulation alone; the others are those of the log.
const reasons: Record<string, string> = { no_route: "There is no such route", denied_by_policy: "The cached policy denies it" };

const deciders: Record<Simulation["decidedBy"], string> = {
  gateway: "The API’s front decides, before any key is looked at",
  authorizer: "The authorizer decides, when it reads the key",
  policy: "The policy that the authorizer wrote for the key decides; it may be cached",
  guard: "The guard in front of the handler decides, by the key as it is at that moment",
};

function Verdict({ k, v }: { k: Key; v: Simulation }) {
  return (
    <div class="verdict">
      <Note tone={v.allowed ? "good" : "bad"}>
        <strong>{v.allowed ? "Let through" : `Refused with ${v.status}`}.</strong> {v.allowed ? "What serves the route answers as it sees fit." : (reasons[v.reason] ?? refusedText(v.reason)) + "."}
      </Note>
      <ul>
        <li>{useRule(k, v)}</li>
        <li>{deciders[v.decidedBy]}.</li>
        {v.route && <li>It is the route <code>{v.route.method} {v.route.path}</code>, which {v.guarded ? "is guarded: every change of the key holds at once" : "is not guarded: a change of the key holds once no cached policy is left"}.</li>}
        {v.policy && !v.policy.written && v.policy.effect === "allow" && <li>A policy from when the key was good may still be cached somewhere and would allow it{v.guarded ? ", but the guard does not" : " until it is gone"}.</li>}
        {v.guard && v.guard.limit > 0 && (
          <li>
            {v.guard.retryAfterSeconds > 0
              ? `Of ${number(v.guard.limit)} requests none is left; one could pass in ${plural(v.guard.retryAfterSeconds, "second")}.`
              : `Of ${plural(v.guard.limit, "request")} in any 60 seconds ${number(v.guard.remaining)} are left now.`}
          </li>
        )}
        <li>Judged for {environmentName[v.environment]}, <Time at={v.at} />, by the key as it is now.</li>
      </ul>
    </div>
  );
}

/** The rule that decides, in words. */
function useRule(k: Key, v: Simulation): string {
  const catalogue = useCatalogue().data ?? [];
  const needs = v.permission ? permissionLabel(catalogue, v.permission) : "";
  switch (v.rule) {
    case "route": return v.allowed ? "The rule: the route asks for no permission." : "The rule: no route of this API has that method and path.";
    case "permissions": return v.allowed ? `The rule: the route asks for ${needs}, which the key holds.` : `The rule: the route asks for ${needs}, which the key does not hold.`;
    case "customers": return `The rule: the key is confined to ${plural(k.customers.length, "customer")}, and the path names another.`;
    case "networks": return `The rule: the key may be used from ${k.networks.join(", ")} alone.`;
    case "environment": return `The rule: the key is of ${environmentName[k.environment]} and works nowhere else.`;
    case "isActive": return "The rule: the key is switched off.";
    case "expirationTs": return "The rule: the key has expired by then.";
    case "notBefore": return "The rule: the key does not work before its start.";
    case "deleted": return "The rule: the key is deleted.";
    case "canary": return "The rule: a canary is always refused, and raises an alert.";
    case "rateLimit": return "The rule: the limit of requests in any 60 seconds.";
    case "limits": return "The rule: the limit of requests in any hour or any 24 hours.";
    case "quota": return "The rule: the monthly quota.";
    case "policy": return "The rule: the policy has no statement that allows it: the key expires in that very second, or there was no room for the route.";
    default: return "The rule: " + v.rule + ".";
  }
}
