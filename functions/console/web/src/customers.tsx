// Customers by their ids: free text, with the ids that keys are confined to already offered.
import { useEffect, useId, useState } from "preact/hooks";
import { get } from "./api";
import "./customers.css";
import { useQuery } from "./query";
import { Icon } from "./ui";

const offered = 20;
const typingMs = 200;

/** The ids in use that hold text; none before the field is looked at. */
function useCustomerIds(text: string, active: boolean): string[] {
  const [settled, settle] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => settle(text), typingMs);
    return () => clearTimeout(timer);
  }, [text]);
  const q = useQuery(active ? "customers " + settled : null, async (signal) =>
    (await get<{ customerId: string }[]>("/v1/api-keys/customers", { search: settled.slice(0, 64), limit: offered }, signal)).data);
  return q.data?.map((c) => c.customerId) ?? [];
}

interface InputProps {
  id: string;
  value: string;
  onValue: (v: string) => void;
  /** An id was chosen from those offered, and not typed. */
  onChosen?: (id: string) => void;
  onKeyDown?: (e: KeyboardEvent) => void;
  onBlur?: () => void;
  except?: string[];
  placeholder?: string;
  ties?: Record<string, string | boolean | undefined>;
}

/** One id. */
export function CustomerInput({ id, value, onValue, onChosen, onKeyDown, onBlur, except = [], placeholder, ties }: InputProps) {
  const [focused, focus] = useState(false);
  const ids = useCustomerIds(value, focused).filter((c) => !except.includes(c));
  return (
    <>
      <input type="text" id={id} list={id + "-list"} autocomplete="off" autocapitalize="off" spellcheck={false} maxLength={2048} placeholder={placeholder} {...ties} value={value}
        onFocus={() => focus(true)}
        onBlur={() => {
          focus(false);
          onBlur?.();
        }}
        onKeyDown={onKeyDown}
        onInput={(e) => {
          const text = e.currentTarget.value, how = (e as InputEvent).inputType;
          onValue(text);
          if ((!how || how === "insertReplacementText") && ids.includes(text)) onChosen?.(text);
        }} />
      <datalist id={id + "-list"}>{ids.map((c) => <option key={c} value={c} />)}</datalist>
    </>
  );
}

/** Several ids: each becomes a token at Enter, a comma, a space, or when the field is left. */
export function CustomersField({ value, onValue, error, hint, label = "Customers" }: { value: string[]; onValue: (v: string[]) => void; error?: string; hint?: string; label?: string }) {
  const id = useId();
  const [text, setText] = useState("");
  const add = (typed: string) => {
    const ids = typed.split(/[\s,;]+/).filter(Boolean);
    if (ids.length) onValue([...new Set([...value, ...ids])]);
    setText("");
  };
  return (
    <div class={error ? "field bad" : "field"}>
      <label for={id}>{label}<span class="optional"> (optional)</span></label>
      <div class="tokens">
        {value.length > 0 && (
          <ul aria-label={label}>
            {value.map((c) => (
              <li class="tag" key={c}>
                <span class="wrap">{c}</span>
                <button type="button" aria-label={"Remove " + c} onClick={() => {
                  onValue(value.filter((v) => v !== c));
                  document.getElementById(id)?.focus();
                }}><Icon name="close" size={12} /></button>
              </li>
            ))}
          </ul>
        )}
        <CustomerInput id={id} value={text} onChosen={add} except={value} onBlur={() => add(text)}
          onValue={(typed) => {
            const t = typed.replace(/^[\s,;]+/, "");
            if (/[\s,;]/.test(t)) add(t);
            else setText(t);
          }}
          onKeyDown={(e) => {
            if (e.key === "Enter" && text.trim()) {
              e.preventDefault();
              add(text);
            } else if (e.key === "Backspace" && text === "") {
              onValue(value.slice(0, -1));
            }
          }}
          ties={{ "aria-invalid": error ? true : undefined, "aria-describedby": [error && id + "-error", hint && id + "-hint"].filter(Boolean).join(" ") || undefined }} />
      </div>
      {hint && <p class="hint" id={id + "-hint"}>{hint}</p>}
      {error && <p class="error" id={id + "-error"}>{error}</p>}
    </div>
  );
}
