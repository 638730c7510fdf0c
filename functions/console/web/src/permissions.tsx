// What a key may do: the rules of permissions that the console needs to know, and the fields
// to choose them with.
import { useId } from "preact/hooks";
import type { Permission } from "./types";
import { Button, CheckboxField } from "./ui";
import "./permissions.css";

export const resourceOf = (permission: string) => permission.split(":")[0] ?? "";

const managing = "api_keys"; // always granted by name: "*" does not include it

/** Whether who holds these may do what permission names, as the API judges it. */
export const holds = (held: string[], permission: string) =>
  held.some((h) => h === permission || h === resourceOf(permission) + ":*" || (h === "*" && resourceOf(permission) !== managing));

const resourceName = (r: string) => (r === managing ? "API keys" : r.charAt(0).toUpperCase() + r.slice(1).replaceAll("_", " "));

/** The name for people; of a wildcard, what it stands for: "everything of Customers". */
export function permissionLabel(catalogue: Permission[], name: string): string {
  if (name !== "*" && name.endsWith(":*")) return "Everything of " + resourceName(resourceOf(name));
  return catalogue.find((p) => p.name === name)?.label ?? name;
}

export interface PickerProps {
  catalogue: Permission[];
  value: string[];
  onValue: (v: string[]) => void;
  /** What the caller's own key holds: it can grant no more. Left out: nothing is said of it. */
  mine?: string[];
  error?: string;
}

export function PermissionPicker({ catalogue, value, onValue, mine, error }: PickerProps) {
  const id = useId();
  const may = (p: string) => !mine || holds(mine, p);
  const single = catalogue.filter((p) => !p.wildcard && resourceOf(p.name) !== managing && may(p.name)).map((p) => p.name);
  const sort = (names: string[]) => [...new Set(names)].sort();
  const toggle = (name: string, on: boolean) =>
    // What a wildcard includes need not be named beside it.
    onValue(sort(on ? [...value.filter((v) => !holds([name], v)), name] : value.filter((v) => v !== name)));

  const box = (name: string, label: string, hint?: string) => {
    const chosen = value.includes(name);
    const covered = !chosen && holds(value, name);
    return (
      <CheckboxField key={name} label={covered ? <>{label} <span class="included">included</span></> : label} checked={chosen || covered} disabled={covered || (!chosen && !may(name))}
        hint={hint ?? (chosen && name.endsWith(":*") ? "Also what is added to it later" : undefined)} onValue={(on) => toggle(name, on)} />
    );
  };
  // What manages keys comes last, set apart: it is more than any use of the API.
  const resources = [...new Set(catalogue.filter((p) => p.name !== "*").map((p) => resourceOf(p.name)))].sort((a, b) => Number(a === managing) - Number(b === managing));
  const unknown = value.filter((v) => !catalogue.some((p) => p.name === v));
  return (
    <fieldset class={error ? "permissions field bad" : "permissions field"} aria-describedby={error && id}>
      <legend>Permissions</legend>
      {error && <p class="error" id={id}>{error}</p>}
      <div class="actions">
        <Button onClick={() => onValue(may("*") ? ["*"] : single)}>All</Button>
        <Button onClick={() => onValue(sort(single.filter((p) => p.endsWith(":read"))))}>Read only</Button>
        <Button onClick={() => onValue([])}>None</Button>
      </div>
      {catalogue.some((p) => !may(p.name)) && <p class="hint">What your own key does not hold, it cannot grant.</p>}
      {box("*", permissionLabel(catalogue, "*"), "Everything but managing API keys, also what is added to the API later")}
      <div class="resources">
        {resources.map((r) => (
          <div key={r} role="group" aria-label={resourceName(r)} class={r === managing ? "managing" : ""}>
            <p class="name">{resourceName(r)}</p>
            {box(r + ":*", permissionLabel(catalogue, r + ":*"))}
            {catalogue.filter((p) => !p.wildcard && resourceOf(p.name) === r).map((p) => box(p.name, p.label))}
          </div>
        ))}
        {unknown.length > 0 && (
          <div role="group" aria-label="No longer in the catalogue">
            <p class="name">No longer in the catalogue</p>
            {unknown.map((name) => box(name, name))}
          </div>
        )}
      </div>
    </fieldset>
  );
}
