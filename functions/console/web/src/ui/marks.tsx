import type { ComponentChildren } from "preact";
import { environmentName } from "../format";
import type { Environment, Status } from "../types";

// A status is told by its word and its shape; the colour only helps.
const marks: Record<Status, { word: string; shape: ComponentChildren }> = {
  active: { word: "Active", shape: <circle cx="6" cy="6" r="5" fill="currentColor" stroke="none" /> },
  scheduled: { word: "Scheduled", shape: <><circle cx="6" cy="6" r="4.5" /><path d="M6 3.5V6l1.8 1.2" /></> },
  inactive: { word: "Inactive", shape: <path d="M4 2v8M8 2v8" stroke-width="2" /> },
  expired: { word: "Expired", shape: <path d="M2.5 1.5h7M2.5 10.5h7M3.5 1.5c0 3 5 6 5 9M8.5 1.5c0 3-5 6-5 9" /> },
  revoked: { word: "Revoked", shape: <path d="m2 2 8 8M10 2l-8 8" stroke-width="2" /> },
};

export const statusWord = (s: Status) => marks[s].word;

export function StatusMark({ status }: { status: Status }) {
  return (
    <span class={`status ${status}`}>
      <svg width=".75rem" height=".75rem" viewBox="0 0 12 12" fill="none" stroke="currentColor" stroke-width="1.4" stroke-linecap="round" aria-hidden="true">{marks[status].shape}</svg>
      {marks[status].word}
    </span>
  );
}

export function EnvironmentTag({ environment }: { environment: Environment }) {
  return <span class={`tag ${environment}`}>{environmentName[environment]}</span>;
}

export function Tag({ children, tone = "" }: { children: ComponentChildren; tone?: "" | "accent" | "warning" | "danger" }) {
  return <span class={`tag ${tone}`}>{children}</span>;
}
