// Form fields: a label, perhaps a hint, and the error beside the field it is about, all
// tied to it for screen readers.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";

export interface FieldProps {
  label: string;
  hint?: ComponentChildren;
  error?: string;
  /** Optional fields say so; what is needed is the rule. */
  optional?: boolean;
}

function Field({ id, label, hint, error, optional, children }: FieldProps & { id: string; children: ComponentChildren }) {
  return (
    <div class={error ? "field bad" : "field"}>
      <label for={id}>
        {label}
        {optional && <span class="optional"> (optional)</span>}
      </label>
      {children}
      {hint && <p class="hint" id={id + "-hint"}>{hint}</p>}
      {error && <p class="error" id={id + "-error"}>{error}</p>}
    </div>
  );
}

const ties = (id: string, p: FieldProps) => ({
  id,
  "aria-invalid": p.error ? true : undefined,
  "aria-describedby": [p.error && id + "-error", p.hint && id + "-hint"].filter(Boolean).join(" ") || undefined,
});

type Text = FieldProps & Omit<JSX.InputHTMLAttributes<HTMLInputElement>, "onInput" | "value" | "label"> & { value: string; onValue: (v: string) => void };

export function TextField({ label, hint, error, optional, value, onValue, ...rest }: Text) {
  const id = useId(), p = { label, hint, error, optional };
  return (
    <Field id={id} {...p}>
      <input type="text" autocomplete="off" {...rest} {...ties(id, p)} value={value} onInput={(e) => onValue(e.currentTarget.value)} />
    </Field>
  );
}

export function TextAreaField({ label, hint, error, optional, value, onValue, rows = 3 }: FieldProps & { value: string; onValue: (v: string) => void; rows?: number }) {
  const id = useId(), p = { label, hint, error, optional };
  return (
    <Field id={id} {...p}>
      <textarea rows={rows} spellcheck={false} {...ties(id, p)} value={value} onInput={(e) => onValue(e.currentTarget.value)} />
    </Field>
  );
}

export function SelectField<V extends string>({ label, hint, error, optional, value, onValue, options }: FieldProps & { value: V; onValue: (v: V) => void; options: [V, string][] }) {
  const id = useId(), p = { label, hint, error, optional };
  return (
    <Field id={id} {...p}>
      <select {...ties(id, p)} value={value} onChange={(e) => onValue(e.currentTarget.value as V)}>
        {options.map(([v, text]) => <option key={v} value={v}>{text}</option>)}
      </select>
    </Field>
  );
}

export function CheckboxField({ label, hint, checked, onValue, disabled }: { label: ComponentChildren; hint?: ComponentChildren; checked: boolean; onValue: (v: boolean) => void; disabled?: boolean }) {
  const id = useId();
  return (
    <div class="check">
      <input type="checkbox" id={id} checked={checked} disabled={disabled} aria-describedby={hint ? id + "-hint" : undefined} onChange={(e) => onValue(e.currentTarget.checked)} />
      <label for={id}>{label}</label>
      {hint && <p class="hint" id={id + "-hint"}>{hint}</p>}
    </div>
  );
}

/** Why a form was not taken: gets the focus when it appears. */
export function ErrorSummary({ text }: { text: string }) {
  const ref = useRef<HTMLParagraphElement>(null);
  useEffect(() => ref.current?.focus(), [text]);
  return <p class="note bad" role="alert" tabIndex={-1} ref={ref}>{text}</p>;
}
