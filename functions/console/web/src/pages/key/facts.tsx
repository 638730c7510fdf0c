// What a key is: every field of it, in words.
import type { ComponentChildren } from "preact";
import { get } from "../../api";
import { environmentName, number, plural } from "../../format";
import { LimitMeter, limitsOf } from "../../limits";
import { permissionLabel } from "../../permissions";
import { keep, useQuery } from "../../query";
import { href } from "../../router";
import { useCatalogue } from "../../store";
import type { Key } from "../../types";
import { Copy, Section, Tag, Time } from "../../ui";

function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return <div><dt>{name}</dt><dd>{children}</dd></div>;
}

export function Facts({ k }: { k: Key }) {
  const catalogue = useCatalogue().data ?? [];
  const names = ["Rate limit", ...k.limits.map((l) => (l.window === "hour" ? "Hourly limit" : "Daily limit")), "Monthly quota"];
  return (
    <Section title="Details">
      {!k.canary && <dl class="facts wide">
        <Fact name="Permissions">
          {k.permissions.length === 0
            ? <span class="never">None: it may call only what any key may</span>
            : <Tags of={k.permissions} what="permission" show={(p) => permissionLabel(catalogue, p)} />}
        </Fact>
        <Fact name="Customers">{k.customers.length === 0 ? "Every customer" : <Tags of={k.customers} what="customer" />}</Fact>
        <Fact name="Networks">{k.networks.length === 0 ? "May be used from anywhere" : <Tags of={k.networks} what="network" />}</Fact>
      </dl>}
      {!k.canary && <>
        <h3>Limits</h3>
        <dl class="facts">
          <Fact name="Plan">{k.plan}</Fact>
          {limitsOf(k).map((l, i) => <Fact key={l.span} name={names[i] ?? ""}><LimitMeter limit={l} /></Fact>)}
          {k.quota && <Fact name="Quota begins anew">On day {k.quota.refillDay} of each month, 00:00 UTC</Fact>}
        </dl>
        <h3>About</h3>
      </>}
      <dl class="facts">
        <Fact name="Key ID"><code>{k.keyId}</code> <Copy text={() => k.keyId} what="key ID" variant="quiet" /></Fact>
        <Fact name="Environment">{environmentName[k.environment]}</Fact>
        <Fact name="Owner">{k.owner || <span class="never">Nobody named</span>}</Fact>
        {k.notBefore && <Fact name="Works from"><Time at={k.notBefore} /></Fact>}
        <Fact name="Expires"><Time at={k.expirationTs} /></Fact>
        <Fact name="Last used"><Time at={k.lastUsed} relative /></Fact>
        <Fact name="Requests in all">{number(k.requestCount)}</Fact>
        <Fact name="Created"><Time at={k.createdAt} /></Fact>
        <Fact name="Created by">{k.createdBy ? <Maker id={k.createdBy} /> : "An administrator"}</Fact>
        <Fact name="Last changed"><Time at={k.updatedAt} /></Fact>
        <Fact name="Secret since"><Time at={k.rotatedAt ?? k.createdAt} /></Fact>
        <Fact name="Number">{number(k.number)}</Fact>
        {k.deletedAt && <Fact name="Deleted"><Time at={k.deletedAt} /></Fact>}
      </dl>
    </Section>
  );
}

/** By its name, as long as it can be read. */
function Maker({ id }: { id: string }) {
  const maker = useQuery("maker " + id, () => keep("maker " + id, async () => (await get<Key>("/v1/api-keys/" + id)).data.name)).data;
  return <a class="wrap" href={href("keys/" + id)}>{maker ?? id}</a>;
}

const most = 20;

/** Many of them are folded away behind the first. */
function Tags({ of, what, show }: { of: string[]; what: string; show?: (t: string) => string }) {
  const list = (some: string[]) => <ul class="tags" aria-label={plural(of.length, what)}>{some.map((t) => <li key={t}><Tag>{show ? show(t) : <code>{t}</code>}</Tag></li>)}</ul>;
  if (of.length <= most) return list(of);
  return <>{list(of.slice(0, most))}<details><summary>{plural(of.length - most, "more " + what)}</summary>{list(of.slice(most))}</details></>;
}
