// Who is signed in to the console with this key.
import { useState } from "preact/hooks";
import { call, get } from "../../api";
import { dateTime } from "../../format";
import { useAction, useQuery } from "../../query";
import { end } from "../../session";
import { useMayManage } from "../../store";
import type { ChangeMeta, Key, Session } from "../../types";
import { Button, Confirm, Failure, Loading, Section, Tag, Time } from "../../ui";
import { Promptly, tell } from "./change";

export function SessionsSection({ k }: { k: Key }) {
  const list = useQuery(`sessions ${k.keyId} ${k.version}`, async (signal) =>
    (await get<Session[] | null>("/v1/sessions", {}, signal)).data?.filter((s) => s.sessionOf === k.keyId) ?? []);
  const may = useMayManage();
  const [ending, setEnding] = useState<Session>();
  return (
    <Section title="Sessions" actions={<Button busy={list.loading && !!list.data} onClick={list.reload}>Refresh</Button>}>
      {list.error && <Failure error={list.error} what="load the sessions" onRetry={list.reload} />}
      {!list.data && list.loading && <Loading what="the sessions" />}
      {list.data?.length === 0 && <p class="muted">Nobody is signed in with this key.</p>}
      {!!list.data?.length && (
        <div class="table" tabIndex={0} role="region" aria-label="Sessions, as a table">
          <table class="cards">
            <caption class="hidden">Sessions of this key</caption>
            <thead><tr><th scope="col">Signed in</th><th scope="col">Last used</th><th scope="col">Ends by itself</th><th scope="col"><span class="hidden">End</span></th></tr></thead>
            <tbody>
              {list.data.map((s) => (
                <tr key={s.keyId}>
                  <th scope="row" data-label="Signed in"><span title={"Session " + s.keyId}><Time at={s.createdAt} /> {s.current && <Tag tone="accent">This one</Tag>}</span></th>
                  <td data-label="Last used"><Time at={s.lastUsed} relative /></td>
                  <td data-label="Ends by itself"><Time at={s.expirationTs} relative /></td>
                  <td class="number">{(may || s.current) && <Button aria-haspopup="dialog" aria-label={`End session of ${dateTime(s.createdAt)}`} onClick={() => setEnding(s)}>End</Button>}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {ending && <End s={ending} onClose={() => setEnding(undefined)} onEnded={() => {
        setEnding(undefined);
        list.reload();
      }} />}
    </Section>
  );
}

function End({ s, onClose, onEnded }: { s: Session; onClose: () => void; onEnded: () => void }) {
  const act = useAction(async () => {
    const { meta } = await call<unknown, ChangeMeta>("DELETE", "/v1/sessions/" + (s.current ? "self" : encodeURIComponent(s.keyId)));
    if (s.current) return end("You ended this session.");
    tell("The session is ended", meta?.effective);
    onEnded();
  });
  return (
    <Confirm title="End session" action="End it" danger busy={act.busy} error={act.error} onConfirm={() => void act.run()} onClose={onClose}>
      <p>
        {s.current ? <>This is your own session: you are <strong>signed out</strong>. </> : <>Whoever signed in on <Time at={s.createdAt} /> is signed out. </>}
        Its requests are refused with 401: <Promptly />. The key itself stays as it is.
      </p>
    </Confirm>
  );
}
