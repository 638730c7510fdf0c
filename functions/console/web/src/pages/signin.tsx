// Exchanges a management key for a session key at once. The field is all that ever holds the
// management key.
import { useState } from "preact/hooks";
import { ApiError, call } from "../api";
import { useAction } from "../query";
import { begin, whyEnded } from "../session";
import type { IssuedKey, Self } from "../types";
import { Button, ErrorSummary, Icon, Note, TextField } from "../ui";

export function SignIn() {
  const [key, setKey] = useState("");
  const signIn = useAction(async () => {
    const as = key.trim();
    if (!/^[\x21-\x7e]+$/.test(as)) throw new ApiError(400, "validation_failed", "That is not an API key.");
    const { data: self } = await call<Self>("GET", "/v1/api-keys/self", { as });
    const { data } = await call<IssuedKey & { sessionOf: string }>("POST", "/v1/sessions", { as }).catch((e: ApiError) => {
      throw e.code === "insufficient_scope"
        ? new ApiError(e.status, e.code, "This key may not read API keys. Sign in with one that may: one that holds api_keys:read, and api_keys:write to change any.", e.requestId)
        : e;
    });
    setKey("");
    begin(data, self.name);
  });
  const why = whyEnded();
  return (
    <main class="signin">
      <form class="card" onSubmit={(e) => {
        e.preventDefault();
        void signIn.run();
      }}>
        <h1><Icon name="key" size={24} /> Keyreeve</h1>
        {why && !signIn.error && <Note tone="warning">{why}</Note>}
        {signIn.error && <ErrorSummary text={signIn.error.message} />}
        <TextField label="Management API key" type="password" value={key} onValue={setKey} autofocus required spellcheck={false}
          hint="A key that may read or manage API keys. It is exchanged for a session of 12 hours and not kept." />
        <Button type="submit" variant="primary" busy={signIn.busy}>Sign in</Button>
      </form>
    </main>
  );
}
