// What the key could do without, by what was observed of it.
import { useEffect, useState } from "preact/hooks";
import { get } from "../../api";
import { permissionLabel } from "../../permissions";
import { useQuery } from "../../query";
import { useCatalogue, useMayManage } from "../../store";
import type { Advice } from "../../types";
import { Button, Failure, Loading, Note, Section, Time } from "../../ui";
import { ChangeDialog, isOwn, type KeyProps, keyPath, patchKey, signOutOf, tell } from "./change";
import { Changes, changesOf, patched } from "./changes";

export function AdviceSection(props: KeyProps) {
  const { k } = props;
  const advice = useQuery("advice " + k.keyId, async (signal) => (await get<Advice>(keyPath(k, "/advice"), {}, signal)).data);
  useEffect(() => advice.data && advice.reload(), [k.version]);
  return (
    <Section title="Advice">
      {advice.error && <Failure error={advice.error} what="load the advice" onRetry={advice.reload} />}
      {!advice.data && advice.loading && <Loading what="the advice" />}
      {advice.data && <Told {...props} advice={advice.data} />}
    </Section>
  );
}

const notYet = <><strong>Not conclusive yet:</strong> it has to be observed for 90 days, since what runs once a quarter may not have run. </>;

function Told({ advice: a, ...props }: KeyProps & { advice: Advice }) {
  const [narrowing, narrow] = useState(false);
  const may = useMayManage();
  const catalogue = useCatalogue().data ?? [];
  const due = a.recommendations ?? [];
  const held = a.permissions ?? [];
  return (
    <>
      {due.length === 0 && <Note tone="good">Nothing needs to be done about this key.</Note>}
      {due.includes("revoke") && (
        <Note tone={a.conclusive ? "warning" : ""}>
          {a.lastUsed ? <>This key was last used <Time at={a.lastUsed} relative />.</> : <>This key was never used since it was made, <Time at={props.k.createdAt} relative />.</>}{" "}
          {!a.conclusive && notYet}If nobody needs it, revoke it; Activate undoes that.
        </Note>
      )}
      {due.includes("rotate") && <Note tone="warning">Its secret is more than 90 days old, in use since <Time at={a.secretSince} />. Regenerate it, with some hours in which both work.</Note>}
      {a.patch && (
        <Note>
          Some of what it holds was not used{a.observedSince && <> since <Time at={a.observedSince} /></>}.{" "}
          {!a.conclusive && notYet}
          {a.keyUpdatedAt && a.observedSince && a.keyUpdatedAt > a.observedSince && <>The key was last changed <Time at={a.keyUpdatedAt} relative />: what it was given then may not have been used yet. </>}
          {may && <Button onClick={() => narrow(true)} aria-haspopup="dialog">Take away what is not used</Button>}
        </Note>
      )}
      {!a.patch && !a.conclusive && !due.includes("revoke") && (
        <p class="muted">Observed {a.observedSince ? <>since <Time at={a.observedSince} /></> : "not yet"}; what is said here is conclusive after 90 days.</p>
      )}
      {held.length > 0 && <>
        <h3>Permissions held</h3>
        <div class="table" tabIndex={0} role="region" aria-label="Permissions held">
          <table class="cards">
            <caption class="hidden">Permissions held and when they were last used</caption>
            <thead><tr><th scope="col">Permission</th><th scope="col">Last used</th><th scope="col">Used of it</th></tr></thead>
            <tbody>
              {held.map((p) => (
                <tr key={p.permission}>
                  <th scope="row">{permissionLabel(catalogue, p.permission)}</th>
                  <td data-label="Last used"><Time at={p.lastUsed} relative /></td>
                  <td data-label="Used of it">{(p.used ?? []).map((u) => permissionLabel(catalogue, u.permission)).join(", ") || "Nothing"}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </>}
      {narrowing && a.patch && <Narrow {...props} patch={a.patch} onClose={() => narrow(false)} />}
    </>
  );
}

function Narrow({ k, patch, ...props }: KeyProps & { patch: { permissions: string[] }; onClose: () => void }) {
  const catalogue = useCatalogue().data ?? [];
  const changes = changesOf(k, patched(k, patch), catalogue);
  return (
    <ChangeDialog {...props} k={k} title={`Narrow ${k.name}`} action="Save changes" ready={changes.length > 0}
      act={async (force) => {
        const { data, meta } = await patchKey(k, patch, force);
        props.set(data);
        tell(`Narrowed “${data.name}”`, meta?.effective);
        if (isOwn(data)) signOutOf(data, "narrowed");
      }}>
      <Changes k={k} changes={changes} />
    </ChangeDialog>
  );
}
