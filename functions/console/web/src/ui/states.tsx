// What stands where data would: none yet, none at all, or why not.
import type { ComponentChildren } from "preact";
import type { ApiError } from "../api";
import { Button } from "./button";
import { Icon } from "./icon";

export function Loading({ what }: { what: string }) {
  return <p class="loading" role="status"><span class="spinner" aria-hidden="true" /> Loading {what}…</p>;
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

/** what was not possible: "load the keys". Reading is tried again by itself where that may help; what a person started is not. */
export function Failure({ error, what, started, onRetry }: { error: ApiError; what: string; started?: boolean; onRetry: () => void }) {
  return (
    <div class="note bad" role="alert">
      <Icon name="warning" />
      <div>
        <strong>Could not {what}.</strong> {error.message}{error.passing && !started && " Trying again by itself."}
        {error.requestId && <span class="hint"> Request {error.requestId}</span>}
      </div>
      <Button onClick={onRetry}>Try again</Button>
    </div>
  );
}

export function Note({ tone = "", children }: { tone?: "" | "warning" | "bad" | "good"; children: ComponentChildren }) {
  return (
    <div class={`note ${tone}`}>
      {(tone === "warning" || tone === "bad") && <Icon name="warning" />}
      <div>{children}</div>
    </div>
  );
}
