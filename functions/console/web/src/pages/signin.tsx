// Exchanges a management key for a session key at once. The field is all that ever holds the
// management key.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, call } from "../api";
import { useAction } from "../query";
import { begin, end, whyEnded } from "../session";
import type { IssuedKey, Self } from "../types";
import { announce, Button, Dialog, ErrorSummary, Icon, Note, TextField } from "../ui";

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

function Form({ children }: { children?: ComponentChildren }) {
  const [key, setKey] = useState("");
  const form = useRef<HTMLFormElement>(null);
  const why = whyEnded();
  useEffect(() => {
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
    <form ref={form} noValidate onSubmit={(e) => {
      e.preventDefault();
      void signIn.run();
    }}>
      {why && !signIn.error && <Note tone="warning">{why}</Note>}
      {signIn.error && <ErrorSummary text={explain(signIn.error)} />}
      <TextField label="Management API key" type="password" value={key} onValue={setKey} spellcheck={false}
        hint="A key that may read or manage API keys. It is exchanged for a session of at most 12 hours, and not kept." />
      <div class="actions">
        {children}
        <Button type="submit" variant="primary" busy={signIn.busy}>Sign in</Button>
      </div>
    </form>
  );
}

export function SignIn() {
  useEffect(() => {
    document.title = "Sign in · Keyreeve";
  }, []);
  return (
    <main class="signin">
      <div class="card">
        <h1><Icon name="key" size={24} /> Keyreeve</h1>
        <Form />
      </div>
    </main>
  );
}

/** In front of a page that holds what somebody was filling in when their session ended. */
export function SignInAgain({ name }: { name: string }) {
  return (
    <Dialog title="Sign in again" dismissible={false} onClose={() => {}}>
      <p class="wrap">What you filled in is still here. Sign in with <strong>{name}</strong> to go on with it; with another key you begin anew.</p>
      <Form><Button onClick={() => end("")}>Give it up</Button></Form>
    </Dialog>
  );
}
