// Switching a key off and on, moving the primary mark, and deleting.
import { useState } from "preact/hooks";
import { call, get } from "../../api";
import { environmentName, plural } from "../../format";
import { useQuery } from "../../query";
import { href } from "../../router";
import type { ChangeMeta, Key, ListMeta } from "../../types";
import { Button, CheckboxField, Dialog, LinkButton, TextField } from "../../ui";
import { ChangeDialog, type KeyProps, OwnNote, Promptly, isOwn, keyPath, patchKey, signOutOf, tell } from "./change";

type Props = KeyProps & { onClose: () => void };

export function Revoke({ k, ...props }: Props) {
  const [descendants, setDescendants] = useState(false);
  return (
    <ChangeDialog {...props} k={k} title={`Revoke ${k.name}`} action="Revoke key" danger
      act={async (force) => {
        const query = { descendants: descendants || undefined, force: force || undefined };
        const { data, meta } = await call<Key, ChangeMeta>("POST", keyPath(k, "/revoke"), { version: k.version, query });
        props.set(data);
        const more = meta.descendants ? ` and ${plural(meta.descendants, "key")} that it created` : "";
        tell(`Revoked “${k.name}”${more}`, meta.effective);
        if (isOwn(k)) signOutOf(k, "revoked");
      }}>
      <p>Every request with this key is refused with 401: <Promptly />. Nothing is deleted, and Activate undoes it.</p>
      <CheckboxField label="Also every key that it created" checked={descendants} onValue={setDescendants}
        hint="And the keys that those created. For a key in the wrong hands. Each of them has to be activated by itself afterwards." />
      <OwnNote k={k} />
    </ChangeDialog>
  );
}

export function Activate({ k, ...props }: Props) {
  return (
    <ChangeDialog {...props} k={k} title={`Activate ${k.name}`} action="Activate key"
      act={async () => {
        const { data, meta } = await call<Key, ChangeMeta>("POST", keyPath(k, "/activate"), { version: k.version });
        props.set(data);
        tell(`Activated “${k.name}”`, meta.effective);
      }}>
      <p>
        Requests with this key are let through again{environmentName[k.environment] && <> in {environmentName[k.environment]}</>}, with the permissions and limits that it had.
        {k.status === "expired" && " It has expired, though: give it a later expiry as well."}
      </p>
    </ChangeDialog>
  );
}

/** The key that has the mark now: one of production's, wherever in the list it is. */
async function findPrimary(signal: AbortSignal): Promise<Key | undefined> {
  let cursor: string | undefined;
  do {
    const { data, meta } = await get<Key[], ListMeta>("/v1/api-keys", { environment: "production", limit: 1000, cursor }, signal);
    const primary = data.find((k) => k.isPrimary);
    if (primary) return primary;
    cursor = meta.next;
  } while (cursor);
  return undefined;
}

export function MakePrimary({ k, ...props }: Props) {
  const primary = useQuery("primary", findPrimary).data;
  return (
    <ChangeDialog {...props} k={k} title={`Make ${k.name} primary`} action="Move the mark here" ready={k.status === "active"}
      act={async (force) => {
        const { data } = await patchKey(k, { isPrimary: true }, force);
        props.set(data);
        tell(`“${k.name}” is the primary key now`, undefined);
      }}>
      <p>
        The primary key is the one that the account’s live applications use, and it cannot be deleted.{" "}
        {primary ? <><a href={href("keys/" + primary.keyId)}>{primary.name}</a> loses the mark</> : "The key that is primary now loses the mark"}; both keys go on working as before.
      </p>
      {k.status !== "active" && <p><strong>This key is not active.</strong> Activate it first.</p>}
    </ChangeDialog>
  );
}

export function Delete({ k, ...props }: Props) {
  const [typed, type] = useState("");
  if (k.isPrimary) {
    return (
      <Dialog title={`Delete ${k.name}`} onClose={props.onClose}>
        <p>This is the primary key, the one that live applications use, and the primary key cannot be deleted. To replace it:</p>
        <ol>
          <li><a href={href("keys/new")}>Create a new key</a> in production and put it to use.</li>
          <li>Make it primary, on the page of the new key. Any other in the <a href={href("keys", { environment: "production" })}>list of production keys</a> can be made primary as well.</li>
          <li>Come back here and delete this one.</li>
        </ol>
        <p>If it is in the wrong hands, revoke or regenerate it now: both are possible for the primary key.</p>
        <div class="actions">
          <Button onClick={props.onClose}>Close</Button>
          <LinkButton href={href("keys/new")} variant="primary">Create API Key</LinkButton>
        </div>
      </Dialog>
    );
  }
  return (
    <ChangeDialog {...props} k={k} title={`Delete ${k.name}`} action="Delete key" danger ready={typed === k.name}
      act={async (force) => {
        const { meta } = await call<unknown, ChangeMeta>("DELETE", keyPath(k), { version: k.version, query: { force: force || undefined } });
        tell(`Deleted “${k.name}”`, meta.effective);
        if (isOwn(k)) signOutOf(k, "deleted");
        else props.reload();
      }}>
      <p>Every request with this key is refused with 401: <Promptly />. <strong>It cannot be undone</strong>: no key with this secret can ever be had again. To switch it off for a while, revoke it instead.</p>
      <p>Its usage, requests and audit trail stay until their retention ends.</p>
      <p class="wrap">The key’s name is <strong>{k.name}</strong></p>
      <TextField label="Type the key’s name to confirm" value={typed} onValue={type} spellcheck={false} />
      <OwnNote k={k} />
    </ChangeDialog>
  );
}
