// Exchanges a management key for a session key at once. The field is all that ever holds the
// management key.
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, call } from "../api";
import { useAction } from "../query";
import { begin, whyEnded } from "../session";
import type { IssuedKey, Self } from "../types";
import { announce, Button, ErrorSummary, Icon, Note, TextField } from "../ui";

/** What is wrong with the key, where the API's words are for those who call it. */
function explain(e: ApiError): string {
  switch (e.status) {
    case 401:
      return "This key is not accepted. Check that it is complete, active and not expired, and that it belongs to this environment: a staging key signs in on staging.";
    case 403:
      return e.code === "insufficient_scope" ? "This key may not see API keys. Sign in with one that holds API Key Read or API Key Management." : e.message;
  }
  return e.message;
}

export function SignIn() {
  const [key, setKey] = useState("");
  const form = useRef<HTMLFormElement>(null);
  const why = whyEnded();
  useEffect(() => {
    document.title = "Sign in · Keyreeve";
    form.current?.querySelector("input")?.focus();
    if (why) announce(why);
  }, []);
  const signIn = useAction(async () => {
    const as = key.trim();
    if (!/^[\x21-\x7e]+$/.test(as)) throw new ApiError(400, "validation_failed", "That is not an API key.");
    const { data: self } = await call<Self>("GET", "/v1/api-keys/self", { as });
    const { data } = await call<IssuedKey & { sessionOf: string }>("POST", "/v1/sessions", { as });
    setKey("");
    begin(data, self.name);
  });
  return (
    <main class="signin">
      <form class="card" ref={form} noValidate onSubmit={(e) => {
        e.preventDefault();
        void signIn.run();
      }}>
        <h1><Icon name="key" size={24} /> Keyreeve</h1>
        {why && !signIn.error && <Note tone="warning">{why}</Note>}
        {signIn.error && <ErrorSummary text={explain(signIn.error)} />}
        <TextField label="Management API key" type="password" value={key} onValue={setKey} spellcheck={false}
          hint="A key that may read or manage API keys. It is exchanged for a session of at most 12 hours, and not kept." />
        <Button type="submit" variant="primary" busy={signIn.busy}>Sign in</Button>
      </form>
    </main>
  );
}
