// How every change of a key is asked for, sent and told. It is sent for the version that was
// seen; who is told that it was another one sees the key as it is now, and decides again.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { ApiError, call } from "../../api";
import { effectiveText } from "../../format";
import { useAction } from "../../query";
import { end, session } from "../../session";
import { useAccount } from "../../store";
import type { ChangeMeta, Effective, Key } from "../../types";
import { CheckboxField, Confirm, Note, notify } from "../../ui";

export interface KeyProps {
  k: Key;
  /** Puts the key in place as a change has left it. */
  set: (k: Key) => void;
  /** Reads it anew. */
  reload: () => void;
}

/** The session was made with this key, and ends with any change of what the key may do. */
export const isOwn = (k: Key) => session()?.parentId === k.keyId;

export const keyPath = (k: Key, rest = "") => `/v1/api-keys/${encodeURIComponent(k.keyId)}${rest}`;

export const patchKey = (k: Key, body: unknown, force: boolean) =>
  call<Key, ChangeMeta | undefined>("PATCH", keyPath(k), { body, version: k.version, query: { force: force || undefined } });

/** "what", and from when it holds. */
export function tell(what: string, effective: Effective | undefined): void {
  const when = effectiveText(effective);
  notify(when ? `${what}: ${when}.` : what + ".");
}

/** After a change that ended the session. */
export function signOutOf(k: Key, what: string): void {
  end(`You ${what} “${k.name}”, the key that you had signed in with, so this session has ended.`);
}

const grants: Record<string, string> = {
  permissions: "Your own key does not hold all these permissions, and to let a key do more, or for longer, is to grant it all that it holds.",
  customers: "Your own key is confined to fewer customers, and no key can grant more than it holds.",
  networks: "Your own key is confined to fewer networks, and no key can grant more than it holds.",
  environment: "Your own key does not manage keys of this environment.",
  rateLimit: "The account’s plan does not allow that many requests.",
  plan: "The account is on a lower plan than this.",
};

/** What went wrong, for a person, where the API's own words would not do. */
export function explain(error: ApiError): ApiError {
  let text = error.message, fields = error.fields;
  if (error.code === "permission_escalation") {
    fields = Object.fromEntries(Object.keys(fields).map((f) => [f, grants[f] ?? "goes beyond what your own key holds"]));
    text = Object.values(fields).join(" ") || text;
  } else if (error.code === "precondition_failed") {
    text = "Somebody else has changed this key meanwhile, so nothing was done. The page behind shows it as it is now: look again, then repeat.";
  } else if (error.code === "last_manager") {
    text = "Nothing was done: no other key could manage this account’s API keys afterwards.";
  } else if (error.status === 404) {
    text = "The key is not there any more: somebody else has deleted it.";
  }
  return new ApiError(error.status, error.code, text, error.requestId, fields, error.retryAfter);
}

interface Props extends KeyProps {
  title: string;
  action: string;
  danger?: boolean;
  ready?: boolean;
  /** Does it, for the version k.version; force: even if nobody can manage keys afterwards. */
  act: (force: boolean) => Promise<void>;
  onClose: () => void;
  children: ComponentChildren;
}

/** Asks, does it, and closes if it is done. */
export function ChangeDialog({ reload, title, action, danger, ready = true, act, onClose, children }: Props) {
  const [forced, force] = useState(false);
  const [lastManager, setLastManager] = useState(false);
  const run = useAction(async () => {
    try {
      await act(forced);
      onClose();
      // What opened the dialog may be gone by now, and the focus with it.
      setTimeout(() => document.activeElement === document.body && document.querySelector("h1")?.focus());
    } catch (e) {
      if (!(e instanceof ApiError)) throw e;
      if (e.code === "last_manager") setLastManager(true);
      // It is not what was seen, or it may have been changed although no answer says so.
      if (e.status === 412 || e.status === 404 || e.passing) reload();
      throw explain(e);
    }
  });
  return (
    <Confirm title={title} action={action} danger={danger} busy={run.busy} error={run.error} ready={ready && (!lastManager || forced)}
      then={lastManager && <LastManager forced={forced} force={force} />} onConfirm={() => void run.run()} onClose={onClose}>
      {children}
    </Confirm>
  );
}

/** The second confirmation, for what would leave an account without a manager. */
export function LastManager({ forced, force }: { forced: boolean; force: (v: boolean) => void }) {
  return (
    <Note tone="warning">
      <CheckboxField label="Do it all the same" checked={forced} onValue={force}
        hint="Afterwards only who administers the installation itself, in its AWS account, can make a key that manages others." />
    </Note>
  );
}

/** What a change does to who is signed in with this very key. */
export function OwnNote({ k }: { k: Key }) {
  if (!isOwn(k)) return null;
  return <Note tone="warning">You are signed in with this key: this <strong>signs you out</strong>.</Note>;
}

/** From when on a change holds that takes something away; beyond the cache, an authorizer may be at work for 10 s. */
export function Promptly() {
  const seconds = useAccount().data?.cacheSeconds;
  return <>at once on guarded routes, and on all others within {seconds === undefined ? "the time that a decision is cached" : `about ${seconds + 10} seconds`}</>;
}
