import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Icon, type IconName } from "./icon";
import { announce } from "./announce";

type Variant = "primary" | "danger" | "quiet";

interface Props extends Omit<JSX.ButtonHTMLAttributes<HTMLButtonElement>, "icon"> {
  variant?: Variant;
  icon?: IconName;
  /** Something is under way: the button says so and cannot be pressed again. */
  busy?: boolean;
  children?: ComponentChildren;
}

/** A button that keeps its place and its focus while it is busy. */
export function Button({ variant, icon, busy, children, class: more = "", onClick, type = "button", ...rest }: Props) {
  return (
    <button {...rest} type={type} class={`button ${variant ?? ""} ${more}`} aria-busy={busy || undefined} aria-disabled={busy || undefined}
      onClick={(e) => (busy ? e.preventDefault() : onClick?.(e))}>
      {busy ? <span class="spinner" aria-hidden="true" /> : icon && <Icon name={icon} />}
      {children}
    </button>
  );
}

/** A link that looks like a button: it goes somewhere and changes nothing. */
export function LinkButton({ href, variant, icon, children }: { href: string; variant?: Variant; icon?: IconName; children: ComponentChildren }) {
  return (
    <a class={`button ${variant ?? ""}`} href={href}>
      {icon && <Icon name={icon} />}
      {children}
    </a>
  );
}

/** Copies text. what is what it is, for people: "Copy API key". */
export function Copy({ text, what, label = "Copy", variant, onCopied }: { text: () => string; what: string; label?: string; variant?: Variant; onCopied?: () => void }) {
  const [state, set] = useState<"" | "copied" | "failed">("");
  const timer = useRef<ReturnType<typeof setTimeout>>();
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async () => {
    clearTimeout(timer.current);
    try {
      await navigator.clipboard.writeText(text());
      set("copied");
      announce(`${what} copied`);
      onCopied?.();
      timer.current = setTimeout(() => set(""), 3000);
    } catch {
      set("failed");
      announce(`${what} could not be copied: select the text and copy it yourself`);
    }
  };
  return (
    <Button variant={variant} icon={state === "copied" ? "check" : "copy"} aria-label={`${label} ${what}`} onClick={copy}>
      {state === "copied" ? "Copied" : state === "failed" ? "Not allowed: select it" : label}
    </Button>
  );
}
