// A new secret for a key: at once, or with some time in which both work.
import { useState } from "preact/hooks";
import { call } from "../../api";
import { now } from "../../clock";
import { dateTime } from "../../format";
import type { ChangeMeta, IssuedKey } from "../../types";
import { Note } from "../../ui";
import { ChangeDialog, type KeyProps, OwnNote, Promptly, keyPath, tell } from "./change";

const graces: [seconds: number, name: string][] = [
  [0, "Now"], [900, "After 15 minutes"], [3600, "After 1 hour"], [21_600, "After 6 hours"], [86_400, "After 24 hours"],
];

export function Regenerate({ k, onIssued, ...props }: KeyProps & { onClose: () => void; onIssued: (k: IssuedKey) => void }) {
  // One attempt each: what is repeated because its answer was lost gives the same secret.
  const [{ grace, attempt }, choose] = useState(() => ({ grace: 0, attempt: crypto.randomUUID() }));
  const until = Math.min(now() + grace * 1000, k.expirationTs ? Date.parse(k.expirationTs) : Infinity);
  return (
    <ChangeDialog {...props} k={k} title={`Regenerate ${k.name}`} action="Regenerate key" danger={grace === 0}
      act={async () => {
        const { data, meta } = await call<IssuedKey, ChangeMeta>("POST", keyPath(k, "/regenerate"), { version: k.version, body: { graceSeconds: grace }, idempotencyKey: attempt });
        const { apiKey, ...key } = data;
        onIssued({ ...key, apiKey });
        props.set(key);
        tell(`“${k.name}” has a new secret; the old one is refused`, meta.effective);
      }}>
      <p>The key gets a new secret, which is shown once. Its ID, name, permissions and limits stay as they are.</p>
      <fieldset>
        <legend>When does the old secret stop?</legend>
        {graces.map(([seconds, name]) => (
          <label class="radio" key={seconds}>
            <input type="radio" name="grace" checked={grace === seconds} onChange={() => choose({ grace: seconds, attempt: crypto.randomUUID() })} />
            {name}
          </label>
        ))}
      </fieldset>
      <p role="status">
        {grace === 0
          ? <>Everything that still uses the old secret is refused with 401: <Promptly />.</>
          : <>The old secret works until {dateTime(new Date(until).toISOString())}, beside the new one. Everything that still uses it then is refused with 401. You can retire it earlier.</>}
      </p>
      {k.previousSecretUntil && <Note tone="warning">The secret before the present one still works until {dateTime(k.previousSecretUntil)}. It <strong>stops at once</strong> when you do this.</Note>}
      <OwnNote k={k} />
    </ChangeDialog>
  );
}
