// Key details: all that is known of one key, and all that can be done with it. Each part
// reads what it needs by itself, so that one that fails takes no other with it.
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { get } from "../../api";
import { now } from "../../clock";
import { useQuery } from "../../query";
import { resourceOf } from "../../permissions";
import { href } from "../../router";
import type { Instant, Key, ListMeta } from "../../types";
import { Empty, EnvironmentTag, Failure, Icon, LinkButton, Loading, Note, Page, StatusMark, Tag, Time, WhenSeen } from "../../ui";
import { Actions } from "./actions";
import { AdviceSection } from "./advice";
import { AuditSection } from "./audit";
import { Facts } from "./facts";
import { Grace } from "./grace";
import { RequestsSection } from "./requests";
import { SessionsSection } from "./sessions";
import { SimulateSection } from "./simulate";
import { UsageSection } from "./usage";
import "./key.css";

export function KeyDetails({ id }: { id: string }) {
  const found = useQuery("key " + id, async (signal) => (await get<Key>(`/v1/api-keys/${encodeURIComponent(id)}`, {}, signal)).data);
  const missing = found.error?.status === 404;
  if (missing) return <Gone id={id} />;
  if (found.data) return <Details k={found.data} set={found.set} reload={found.reload} failure={found.error && <Failure error={found.error} what="load the key anew" onRetry={found.reload} />} />;
  return (
    <Page title="API key">
      {found.error ? <Failure error={found.error} what="load the key" onRetry={found.reload} /> : <Loading what="the key" />}
    </Page>
  );
}

/** What of a key that is not there any more can still be read. */
function Gone({ id }: { id: string }) {
  const search = id.replace(/^key_/, ""); // the part of it that the list looks for
  const list = useQuery("deleted " + id, async (signal) => (await get<Key[], ListMeta>("/v1/api-keys", { status: "revoked", search }, signal)).data);
  const k = list.data?.find((d) => d.keyId === id);
  if (k) return <Details k={k} set={() => {}} reload={list.reload} />;
  return (
    <Page title={list.data ? "No such key" : "API key"}>
      {list.error && <Failure error={list.error} what="look for the key" onRetry={list.reload} />}
      {!list.data && !list.error && <Loading what="the key" />}
      {list.data && (
        <Empty title="There is no such key">
          <p>Its history has ended, it is of an environment that your key does not see, or the link is wrong.</p>
          <LinkButton href={href("keys")}>API Keys</LinkButton>
        </Empty>
      )}
    </Page>
  );
}

interface DetailsProps {
  k: Key;
  set: (k: Key) => void;
  reload: () => void;
  failure?: ComponentChildren;
}

function Details({ k, set, reload, failure }: DetailsProps) {
  const deleted = k.status === "revoked";
  return (
    <Page title={k.name} lead={<Head k={k} />} actions={!deleted && <Actions k={k} set={set} reload={reload} />}>
      {failure}
      {deleted && (
        <Note tone="warning">
          <strong>This key was deleted{k.deletedAt && <> on <Time at={k.deletedAt} /></>}.</strong> It can never be used again. Its history stays until its retention ends.
        </Note>
      )}
      {k.canary && !deleted && <Note tone="warning"><strong>A canary:</strong> a decoy that never works. Whoever presents it raises the alert “Canary key was used”.</Note>}
      {!deleted && <Expiring k={k} />}
      {k.previousSecretUntil && !deleted && <Grace k={k} set={set} reload={reload} />}
      <Facts k={k} />
      <UsageSection k={k} />
      {!deleted && !k.canary && <AdviceSection k={k} set={set} reload={reload} />}
      {!deleted && k.permissions.some((p) => resourceOf(p) === "api_keys") && <SessionsSection k={k} />}
      <AuditSection k={k} />
      {!deleted && <SimulateSection k={k} />}
      <WhenSeen title="Requests"><RequestsSection k={k} /></WhenSeen>
    </Page>
  );
}

function Head({ k }: { k: Key }) {
  return (
    <span class="keyhead">
      <code>{k.keyPrefix}</code>
      <EnvironmentTag environment={k.environment} />
      <StatusMark status={k.status} />
      {k.isPrimary && <Tag tone="accent"><Icon name="star" size={14} /> Primary</Tag>}
      {k.canary && <Tag tone="danger">Canary</Tag>}
    </span>
  );
}

const week = 7 * 86_400_000;

/** Told a week ahead, since a key that ends unnoticed takes a service down with it. */
function Expiring({ k }: { k: Key }) {
  const left = useTimeLeft(k.expirationTs);
  if (!k.expirationTs || left > week || k.status === "revoked") return null;
  if (left > 0) return <Note tone="warning"><strong>This key expires <Time at={k.expirationTs} relative />.</strong> Give it a later expiry with Edit to keep it working.</Note>;
  return <Note tone="warning"><strong>This key has expired.</strong> Give it a later expiry with Edit to make it work again.</Note>;
}

function useTimeLeft(until: Instant | null): number {
  const [at, set] = useState(now());
  useEffect(() => {
    const timer = setInterval(() => set(now()), 30_000);
    return () => clearInterval(timer);
  }, []);
  return until ? Date.parse(until) - at : 0;
}
