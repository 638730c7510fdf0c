// A key's plaintext, the one time that there is one: after a create or a regenerate. It is in
// this dialog and in what the caller handed in, both gone when it closes.
import { useEffect, useState } from "preact/hooks";
import { apiAddress } from "../api";
import { holds } from "../permissions";
import { useLeaveGuard } from "../router";
import { session, stay } from "../session";
import { useRoutes } from "../store";
import { environments, type Environment, type IssuedKey, type Route } from "../types";
import { Button, CheckboxField, Copy, Dialog, EnvironmentTag } from "../ui";
import "./secret.css";

interface Props {
  issued: IssuedKey;
  title?: string;
  /** The person has it. The caller lets go of issued. */
  onDone: () => void;
}

/**
 * Shows a new key until the person says that it is saved: neither Esc nor a click outside
 * closes it, and going back, reloading or closing the tab asks first. It outlives the session,
 * which ends when the key that it was made with gets a new secret.
 */
export function SavedOnce({ issued, title = "Save your API key", onDone }: Props) {
  const [shown, show] = useState(false);
  const [saved, save] = useState(false);
  const routes = useRoutes();
  useEffect(stay, []);
  useLeaveGuard("The API key that you see now is not shown again. Leave without saving it?");

  const { apiKey } = issued;
  const masked = apiKey.slice(0, apiKey.lastIndexOf("_") + 1) + "•".repeat(12);
  const env = (key: string) => `KEYREEVE_API_KEY=${key}`;
  const curl = (key: string) => curlCommand(issued, routes.data ?? [], key);
  const seen = shown ? apiKey : masked;
  return (
    <Dialog title={title} onClose={() => {}} dismissible={false} wide>
      <p class="wrap"><strong>{issued.name}</strong> <EnvironmentTag environment={issued.environment} /></p>
      <p>This is the only time that you can see this key. Store it now: in a password manager, or where your application keeps its secrets.</p>
      <div class="secret">
        <label for="secret">API key</label>
        <div class="row">
          <input class="mono" id="secret" type="text" readOnly value={seen} autocomplete="off" spellcheck={false}
            onFocus={(e) => e.currentTarget.select()}
            onCopy={(e) => {
              // What is copied by hand is the key, however much of it can be seen.
              e.preventDefault();
              e.clipboardData?.setData("text/plain", apiKey);
            }} />
          <Button icon="eye" onClick={() => show(!shown)}>{shown ? "Hide" : "Show"} API key</Button>
          <Copy text={() => apiKey} what="API key" variant="primary" />
        </div>
      </div>
      <Line label="For an .env file" what=".env line" line={env} apiKey={apiKey} seen={seen} />
      {!issued.canary && <Line label="To try it" what="curl command" line={curl} apiKey={apiKey} seen={seen} />}
      <CheckboxField label="I have saved this key somewhere safe" checked={saved} onValue={save} />
      <div class="actions">
        <Button variant="primary" disabled={!saved} onClick={onDone}>Done</Button>
      </div>
    </Dialog>
  );
}

function Line({ label, what, line, apiKey, seen }: { label: string; what: string; line: (key: string) => string; apiKey: string; seen: string }) {
  return (
    <div class="secret">
      <h3>{label}</h3>
      <div class="row">
        <pre>{line(seen)}</pre>
        <Copy text={() => line(apiKey)} what={what} />
      </div>
    </div>
  );
}

/** A request that the key may make and that changes nothing. */
function curlCommand(key: IssuedKey, routes: Route[], secret: string): string {
  const may = routes.filter((r) => r.method === "GET" && r.permission !== null && holds(key.permissions, r.permission)
    && pathFor(r, key) !== null);
  const route = may.find((r) => !r.permission?.startsWith("api_keys:")) ?? may[0];
  // Every live key may ask about itself.
  const path = route ? pathFor(route, key) : "/v1/api-keys/self";
  const header = route?.credential === "Authorization" ? `Authorization: Api-Key ${secret}` : `X-API-Key: ${secret}`;
  return `curl '${addressFor(key.environment)}${path}' \\\n  -H '${header}'`;
}

/** The route's path with the key's own customer filled in; null: it asks for more than that. */
function pathFor(r: Route, key: IssuedKey): string | null {
  const customer = key.customers[0];
  const path = r.customer && customer ? r.path.replace(`{${r.customer}}`, customer) : r.path;
  return path.includes("{") ? null : path;
}

/** Where keys of an environment work: on its own stage, or on the one that takes all. */
function addressFor(environment: Environment): string {
  const stage = apiAddress.slice(apiAddress.lastIndexOf("/") + 1);
  if (environments.includes(stage as Environment)) return apiAddress.slice(0, -stage.length) + environment;
  if (stage === "shared" || environment === session()?.environment) return apiAddress;
  // A host of its own stands for one stage; only on this machine is it known where the others are.
  if (["localhost", "127.0.0.1", "[::1]"].includes(location.hostname)) return `${apiAddress}/${environment}`;
  return `https://YOUR-${environment.toUpperCase()}-ADDRESS`;
}
